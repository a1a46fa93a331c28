//! `daily_sales`: what each order adds to its day, the days, and their customers.
//!
//! Added up anew from the orders as they stand, where the projector writes differences.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::order::{OrderCreated, OrderEvent};
use domain::{AggregateType, BusinessDate, Currency, Event, OrderId, Sequence};

use super::{Fold, Model, NO_STREAM, Occurred, foreign, order_text, stands_at, uncreated};
use crate::digest::RowKey;
use crate::matcher::Matcher;
use crate::table::{Holds, PARKED, Row, Table, Type, column};

const DAYS: usize = 0;
const CONTRIBUTIONS: usize = 1;
const CUSTOMERS: usize = 2;

pub(crate) static MODEL: Model = Model {
    name: "daily_sales",
    reads: AggregateType::Order,
    tables: &[
        Table {
            name: "days",
            holds: Holds::Sums,
            key: &[
                column("establishment_id", Type::Text),
                column("business_date", Type::Date),
            ],
            columns: &[
                column("currency", Type::Text),
                column("orders", Type::Plain),
                column("sales", Type::Plain),
                column("unique_customers", Type::Plain),
            ],
            fixed: 0,
        },
        Table {
            name: "contributions",
            holds: Holds::Stream,
            key: &[column("order_id", Type::Plain)],
            columns: &[
                column("establishment_id", Type::Text),
                column("business_date", Type::Date),
                column("currency", Type::Text),
                column("orders", Type::Plain),
                column("sales", Type::Plain),
                column("customer_id", Type::Text),
            ],
            fixed: 0,
        },
        Table {
            name: "customers",
            holds: Holds::Sums,
            key: &[
                column("establishment_id", Type::Text),
                column("business_date", Type::Date),
                column("customer_id", Type::Text),
            ],
            columns: &[column("refs", Type::Plain)],
            fixed: 0,
        },
        PARKED,
    ],
    fold: || Box::<Sales>::default(),
};

/// Tenant, establishment, date.
type Day = (Arc<str>, Arc<str>, BusinessDate);

#[derive(Debug, Default)]
struct Sales {
    orders: HashMap<(Arc<str>, OrderId), Order>,
    /// Tenants, establishments and customers recur with almost every order.
    names: HashSet<Arc<str>>,
    /// Orders and sales that the stored contributions add up to, where a day is to be described.
    stored: HashMap<(String, String, String), (i128, i128)>,
}

#[derive(Debug)]
struct Order {
    establishment: Arc<str>,
    date: BusinessDate,
    currency: Currency,
    total: i64,
    customer: Option<Arc<str>>,
    counts: bool,
    version: Sequence,
}

#[derive(Debug)]
struct Sum {
    currency: Currency,
    orders: i64,
    /// Wide, because a day that a projector would refuse must still be added up.
    sales: i128,
    customers: BTreeMap<Arc<str>, i64>,
}

impl Sales {
    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    fn placed(&mut self, created: &OrderCreated, version: Sequence) -> Order {
        let customer = created.customer.as_ref().and_then(|who| who.customer_id.as_ref());
        Order {
            establishment: self.name(created.establishment_id.as_str()),
            date: created.business_date,
            currency: created.terms.currency,
            total: created.totals.total.0,
            customer: customer.map(|id| self.name(id.as_str())),
            counts: true,
            version,
        }
    }

    fn days(&self) -> BTreeMap<Day, Sum> {
        let mut days = BTreeMap::new();
        for ((tenant, _), order) in self.orders.iter().filter(|(_, order)| order.counts) {
            let day = (Arc::clone(tenant), Arc::clone(&order.establishment), order.date);
            let sum = days.entry(day).or_insert_with(|| Sum {
                currency: order.currency,
                orders: 0,
                sales: 0,
                customers: BTreeMap::new(),
            });
            sum.orders += 1;
            sum.sales += i128::from(order.total);
            if let Some(customer) = &order.customer {
                *sum.customers.entry(Arc::clone(customer)).or_default() += 1;
            }
        }
        days
    }
}

fn contribution(tenant: &str, id: String, order: &Order) -> Row {
    let (orders, sales) = if order.counts { (1, order.total) } else { (0, 0) };
    Row {
        table: CONTRIBUTIONS,
        tenant: tenant.to_owned(),
        key: vec![id],
        columns: vec![
            Some(order.establishment.to_string()),
            Some(order.date.to_string()),
            Some(order.currency.to_string()),
            Some(orders.to_string()),
            Some(sales.to_string()),
            order
                .customer
                .as_ref()
                .filter(|_| order.counts)
                .map(ToString::to_string),
        ],
        note: stands_at(order.version),
    }
}

fn day_row((tenant, establishment, date): &Day, sum: &Sum) -> Row {
    let (orders, sales) = (sum.orders, sum.sales);
    Row {
        table: DAYS,
        tenant: tenant.to_string(),
        key: vec![establishment.to_string(), date.to_string()],
        columns: vec![
            Some(sum.currency.to_string()),
            Some(orders.to_string()),
            Some(sales.to_string()),
            Some(sum.customers.len().to_string()),
        ],
        note: Some(format!(
            "the log has {orders} orders that count for the day, of {sales} together"
        )),
    }
}

fn customer_row((tenant, establishment, date): &Day, customer: &str, orders: i64) -> Row {
    Row {
        table: CUSTOMERS,
        tenant: tenant.to_string(),
        key: vec![establishment.to_string(), date.to_string(), customer.to_owned()],
        columns: vec![Some(orders.to_string())],
        note: Some(format!(
            "the log has {orders} orders of the customer that count for the day"
        )),
    }
}

fn settle(row: Row, rows: &mut Matcher) {
    let table = &MODEL.tables[row.table];
    rows.expect(row.row_key(), row.digest(table), || row);
}

impl Fold for Sales {
    fn saw(&mut self, row: &Row) {
        if row.table != CONTRIBUTIONS {
            return;
        }
        let text = |place: usize| row.columns.get(place).cloned().flatten().unwrap_or_default();
        let number = |place: usize| text(place).parse::<i128>().unwrap_or_default();
        let sum = self.stored.entry((row.tenant.clone(), text(0), text(1))).or_default();
        sum.0 += number(3);
        sum.1 += number(4);
    }

    fn apply(&mut self, event: &Occurred<'_>, rows: &mut Matcher) -> Result<(), String> {
        let id = order_text(&event.recorded.stream)?;
        let order_id: OrderId = id.parse().map_err(|_| uncreated())?;
        let key = (self.name(event.tenant()), order_id);
        match event.event {
            Event::Order(OrderEvent::OrderCreated(created)) => {
                let order = self.placed(created, event.sequence());
                self.orders.insert(key.clone(), order);
            }
            Event::Order(OrderEvent::OrderStatusChanged(changed)) => {
                let order = self.orders.get_mut(&key).ok_or_else(uncreated)?;
                order.counts = changed.to.counts_as_sale();
                order.version = event.sequence();
            }
            Event::Product(_) | Event::Establishment(_) => return Err(foreign()),
        }
        let row_key = RowKey::new(CONTRIBUTIONS, event.tenant(), [id.as_str()]);
        if rows.wants(row_key)
            && let Some(order) = self.orders.get(&key)
        {
            let row = contribution(event.tenant(), id, order);
            rows.stood(row_key, event.sequence(), row.digest(&MODEL.tables[CONTRIBUTIONS]));
        }
        Ok(())
    }

    fn finish(&mut self, rows: &mut Matcher) {
        for (day, sum) in self.days() {
            for (customer, orders) in &sum.customers {
                settle(customer_row(&day, customer, *orders), rows);
            }
            settle(day_row(&day, &sum), rows);
        }
        for ((tenant, id), order) in &self.orders {
            settle(contribution(tenant, id.to_string(), order), rows);
        }
    }

    fn why_extra(&self, row: &Row) -> Option<String> {
        Some(match row.table {
            DAYS => "the log has no order that counts for the day".to_owned(),
            CUSTOMERS => "the log has no order of the customer that counts for the day".to_owned(),
            _ => NO_STREAM.to_owned(),
        })
    }

    fn why_changed(&self, expected: &Row, found: &Row) -> Option<String> {
        if expected.table != DAYS {
            return expected.note.clone();
        }
        let [establishment, date] = expected.key.as_slice() else {
            return None;
        };
        let day = (expected.tenant.clone(), establishment.clone(), date.clone());
        let (orders, sales) = self.stored.get(&day).copied().unwrap_or_default();
        let sums = [Some(orders.to_string()), Some(sales.to_string())];
        let agrees = |row: &Row| row.columns.get(1..3) == Some(sums.as_slice());
        let verdict = match (agrees(expected), agrees(found)) {
            (true, true) => "as the row and the log do",
            (true, false) => "as the log does: only the day's row is wrong",
            (false, true) => "as the row does: it is the contributions that are wrong",
            (false, false) => "which neither the row nor the log does",
        };
        Some(format!(
            "the day's stored contributions add up to {orders} orders of {sales}, {verdict}"
        ))
    }
}
