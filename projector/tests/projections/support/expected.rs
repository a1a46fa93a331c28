//! What the rows have to be: the log folded in memory, by code that shares nothing with the
//! projections.

use std::collections::{BTreeMap, BTreeSet};

use domain::Event;
use domain::establishment::EstablishmentEvent;
use domain::order::{Order, OrderCreated, OrderEvent};
use domain::product::{Product, ProductEvent};
use event_store::RecordedEvent;
use serde_json::{Value, json};

use super::rows::Tables;

/// Tenant and id.
type Key = (String, String);

#[derive(Default)]
struct Folded {
    orders: BTreeMap<Key, (Order, Value, RecordedEvent)>,
    timeline: BTreeMap<(Key, i64), Value>,
    products: BTreeMap<Key, (Product, RecordedEvent)>,
    establishments: BTreeMap<Key, Value>,
}

/// The rows of a log. Malformed events must not be in it.
pub(crate) fn tables(log: &[RecordedEvent]) -> Tables {
    let mut folded = Folded::default();
    for recorded in log {
        let key = (recorded.stream.tenant().to_string(), recorded.stream.id().to_owned());
        match recorded.decode().expect("well-formed") {
            Event::Order(event) => folded.order(key, recorded, &event),
            Event::Product(event) => folded.product(key, recorded, &event),
            Event::Establishment(EstablishmentEvent::EstablishmentDefined(defined)) => {
                let row = json!({
                    "tenant_id": key.0, "establishment_id": key.1, "name": defined.name,
                    "time_zone": defined.time_zone, "currency": defined.currency, "tax_mode": defined.tax.mode,
                    "tax_rate_ppm": defined.tax.rate_ppm, "kind": defined.kind, "version": recorded.sequence,
                    "updated_at": recorded.recorded_at,
                });
                folded.establishments.insert(key, row);
            }
        }
    }
    folded.tables()
}

impl Folded {
    fn order(&mut self, key: Key, recorded: &RecordedEvent, event: &OrderEvent) {
        let number: Value = recorded
            .metadata
            .get("number")
            .map_or(Value::Null, |n| json!(n.parse::<i64>().expect("a number")));
        let slot = self
            .orders
            .entry(key.clone())
            .or_insert_with(|| (Order::default(), number, recorded.clone()));
        slot.0.evolve(event);
        slot.2 = recorded.clone();
        let (from, to, reason, at) = match event {
            OrderEvent::OrderCreated(created) => (Value::Null, json!("placed"), Value::Null, created.placed_at),
            OrderEvent::OrderStatusChanged(changed) => (
                json!(changed.from),
                json!(changed.to),
                json!(changed.reason),
                changed.changed_at,
            ),
        };
        let row = json!({
            "tenant_id": key.0, "order_id": key.1, "sequence": recorded.sequence, "event_type": recorded.event_type,
            "from_status": from, "status": to, "reason": reason, "actor": recorded.metadata.get("actor"),
            "occurred_at": at, "recorded_at": recorded.recorded_at,
        });
        self.timeline.insert((key, recorded.sequence.0), row);
    }

    fn product(&mut self, key: Key, recorded: &RecordedEvent, event: &ProductEvent) {
        let slot = self
            .products
            .entry(key)
            .or_insert_with(|| (Product::default(), recorded.clone()));
        slot.0.evolve(event);
        slot.1 = recorded.clone();
    }

    fn tables(self) -> Tables {
        let mut tables = Tables::new();
        tables.insert(
            "orders_g1.orders",
            self.orders.iter().map(|(key, order)| order_row(key, order)).collect(),
        );
        tables.insert("order_timeline_g1.entries", self.timeline.into_values().collect());
        tables.insert(
            "products_g1.products",
            self.products
                .iter()
                .map(|(key, (product, last))| product_row(key, product, last))
                .collect(),
        );
        tables.insert(
            "establishments_g1.establishments",
            self.establishments.into_values().collect(),
        );
        sales(&self.orders, &mut tables);
        tables
    }
}

fn created(order: &Order) -> (&OrderCreated, bool, Value) {
    let state = order.state().expect("placed");
    (&state.created, state.status.counts_as_sale(), json!(state.status))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

fn order_row(key: &Key, (order, number, last): &(Order, Value, RecordedEvent)) -> Value {
    let (created, _, status) = created(order);
    let customer = created.customer.as_ref();
    let items: Vec<Value> = created
        .items
        .iter()
        .map(|item| {
            let modifiers: Vec<Value> = item
                .modifiers
                .iter()
                .map(|m| without_nulls(json!({"modifier_id": m.modifier_id, "name": m.name, "price": m.price})))
                .collect();
            without_nulls(json!({
                "line_id": item.line_id, "product_id": item.product_id, "name": item.name, "quantity": item.quantity,
                "unit_price": item.unit_price, "modifiers": modifiers,
                "note": item.note.as_ref().map(|note| note.text().to_owned()), "line_total": item.line_total,
            }))
        })
        .collect();
    json!({
        "tenant_id": key.0, "order_id": key.1, "establishment_id": created.establishment_id, "number": number,
        "business_date": created.business_date, "reference": created.reference, "status": status,
        "service_type": created.service_type, "channel": created.channel, "table_id": created.table_id,
        "currency": created.terms.currency, "subtotal": created.totals.subtotal, "discount": created.totals.discount,
        "tax": created.totals.tax, "tip": created.totals.tip, "total": created.totals.total,
        "item_count": created.items.iter().map(|item| item.quantity).sum::<u32>(), "items": items,
        "customer_id": customer.and_then(|c| c.customer_id.clone()),
        "customer_name": customer.and_then(|c| c.name.as_ref()).map(|name| name.text().to_owned()),
        "customer_contact": customer.and_then(|c| c.contact.as_ref()).map(|contact| contact.text().to_owned()),
        "note": created.note.as_ref().map(|note| note.text().to_owned()), "placed_at": created.placed_at,
        "updated_at": last.recorded_at, "version": last.sequence,
    })
}

fn product_row(key: &Key, product: &Product, last: &RecordedEvent) -> Value {
    let state = product.state().expect("defined");
    let defined = &state.defined;
    json!({
        "tenant_id": key.0, "product_id": key.1, "establishment_id": defined.establishment_id, "name": defined.name,
        "category": defined.category, "price": defined.price.amount, "currency": defined.price.currency,
        "available": state.available, "modifiers": defined.modifiers, "version": last.sequence,
        "updated_at": last.recorded_at,
    })
}

fn sales(orders: &BTreeMap<Key, (Order, Value, RecordedEvent)>, tables: &mut Tables) {
    #[derive(Default)]
    struct Day {
        currency: String,
        orders: i64,
        sales: i64,
        customers: BTreeSet<String>,
    }
    let mut days: BTreeMap<(String, String, String), Day> = BTreeMap::new();
    let mut customers: BTreeMap<(String, String, String, String), i64> = BTreeMap::new();
    let mut contributions = vec![];
    for ((tenant, id), (order, _, _)) in orders {
        let (created, counts, _) = created(order);
        let customer = created
            .customer
            .as_ref()
            .and_then(|c| c.customer_id.as_ref())
            .filter(|_| counts);
        let (establishment, date) = (created.establishment_id.to_string(), created.business_date.to_string());
        let currency = created.terms.currency.to_string();
        contributions.push(json!({
            "tenant_id": tenant, "order_id": id, "establishment_id": establishment, "business_date": date,
            "currency": currency, "orders": i64::from(counts), "sales": if counts { created.totals.total.0 } else { 0 },
            "customer_id": customer,
        }));
        if !counts {
            continue;
        }
        let day = days
            .entry((tenant.clone(), establishment.clone(), date.clone()))
            .or_default();
        day.currency = currency;
        day.orders += 1;
        day.sales += created.totals.total.0;
        if let Some(customer) = customer {
            day.customers.insert(customer.to_string());
            *customers
                .entry((tenant.clone(), establishment, date, customer.to_string()))
                .or_default() += 1;
        }
    }
    let day_row = |((tenant, establishment, date), day): (&(String, String, String), &Day)| {
        json!({
            "tenant_id": tenant, "establishment_id": establishment, "business_date": date, "currency": day.currency,
            "orders": day.orders, "sales": day.sales, "unique_customers": day.customers.len(),
        })
    };
    let customer_row = |((tenant, establishment, date, customer), refs): (&(String, String, String, String), &i64)| {
        json!({
            "tenant_id": tenant, "establishment_id": establishment, "business_date": date, "customer_id": customer,
            "refs": refs,
        })
    };
    tables.insert("daily_sales_g1.days", days.iter().map(day_row).collect());
    tables.insert("daily_sales_g1.contributions", contributions);
    tables.insert("daily_sales_g1.customers", customers.iter().map(customer_row).collect());
}
