//! `orders`: one row an order.

use std::collections::HashMap;

use domain::order::{OrderCreated, OrderEvent, OrderItem, OrderStatus};
use domain::{AggregateType, Event, Personal, Sequence, Text, Timestamp};
use serde_json::{Map, Value};

use super::{Fold, Model, NO_STREAM, Occurred, foreign, order_text, stands_at, stream_row, uncreated};
use crate::digest::{self, Digest, RowKey};
use crate::json;
use crate::matcher::Matcher;
use crate::table::{Column, Holds, PARKED, Row, Table, Type, column};

const COLUMNS: &[Column] = &[
    column("establishment_id", Type::Text),
    column("number", Type::Plain),
    column("business_date", Type::Date),
    column("reference", Type::Text),
    column("service_type", Type::Text),
    column("channel", Type::Text),
    column("table_id", Type::Text),
    column("currency", Type::Text),
    column("subtotal", Type::Plain),
    column("discount", Type::Plain),
    column("tax", Type::Plain),
    column("tip", Type::Plain),
    column("total", Type::Plain),
    column("item_count", Type::Plain),
    column("items", Type::Json),
    column("customer_id", Type::Text),
    column("customer_name", Type::Text),
    column("customer_contact", Type::Text),
    column("note", Type::Text),
    column("placed_at", Type::Time),
    column("status", Type::Text),
    column("updated_at", Type::Time),
    column("version", Type::Plain),
];

pub(crate) static MODEL: Model = Model {
    name: "orders",
    reads: AggregateType::Order,
    tables: &[
        Table {
            name: "orders",
            holds: Holds::Stream,
            key: &[column("order_id", Type::Plain)],
            columns: COLUMNS,
            fixed: COLUMNS.len() - 3,
        },
        PARKED,
    ],
    fold: || Box::<Orders>::default(),
};

#[derive(Debug, Default)]
struct Orders {
    orders: HashMap<RowKey, Order>,
}

#[derive(Debug)]
struct Order {
    /// What is written once, as a digest.
    fixed: Digest,
    status: OrderStatus,
    updated_at: Timestamp,
    version: Sequence,
    /// The row up to what events change, where it is to be described.
    kept: Option<Box<Row>>,
}

impl Order {
    fn moving(&self) -> [Option<String>; 3] {
        [
            Some(self.status.as_str().to_owned()),
            Some(self.updated_at.to_string()),
            Some(self.version.to_string()),
        ]
    }

    fn digest(&self) -> Digest {
        digest::row(self.fixed, &self.moving())
    }
}

impl Fold for Orders {
    fn apply(&mut self, event: &Occurred<'_>, rows: &mut Matcher) -> Result<(), String> {
        let id = order_text(&event.recorded.stream)?;
        let key = stream_row(event.tenant(), &id);
        match event.event {
            Event::Order(OrderEvent::OrderCreated(created)) => {
                let columns = written_once(created, event.recorded.number().map(|number| number.0));
                let fixed = digest::fixed(&columns);
                let kept = rows.wants(key).then(|| {
                    Box::new(Row {
                        table: 0,
                        tenant: event.tenant().to_owned(),
                        key: vec![id],
                        columns,
                        note: None,
                    })
                });
                let order = Order {
                    fixed,
                    status: OrderStatus::Placed,
                    updated_at: event.recorded.recorded_at,
                    version: event.sequence(),
                    kept,
                };
                self.orders.insert(key, order);
            }
            Event::Order(OrderEvent::OrderStatusChanged(changed)) => {
                let order = self.orders.get_mut(&key).ok_or_else(uncreated)?;
                order.status = changed.to;
                order.updated_at = event.recorded.recorded_at;
                order.version = event.sequence();
            }
            Event::Product(_) | Event::Establishment(_) => return Err(foreign()),
        }
        if rows.wants(key)
            && let Some(order) = self.orders.get(&key)
        {
            rows.stood(key, event.sequence(), order.digest());
        }
        Ok(())
    }

    fn finish(&mut self, rows: &mut Matcher) {
        for (key, order) in &mut self.orders {
            let (digest, moving, version) = (order.digest(), order.moving(), order.version);
            let kept = order.kept.take();
            rows.expect(*key, digest, || describe(kept, moving, version));
        }
    }

    fn why_extra(&self, _: &Row) -> Option<String> {
        Some(NO_STREAM.to_owned())
    }
}

fn describe(kept: Option<Box<Row>>, moving: [Option<String>; 3], version: Sequence) -> Row {
    // Kept whenever it is wanted.
    let mut row = kept.map_or_else(
        || Row {
            table: 0,
            tenant: String::new(),
            key: vec![],
            columns: vec![],
            note: None,
        },
        |kept| *kept,
    );
    row.columns.extend(moving);
    row.note = stands_at(version);
    row
}

fn written_once(created: &OrderCreated, number: Option<i64>) -> Vec<Option<String>> {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.as_str().to_owned());
    let personal = |field: Option<&Personal>| field.map(|field| field.text().to_owned());
    let customer = created.customer.as_ref();
    let totals = &created.totals;
    let units: u64 = created.items.iter().map(|item| u64::from(item.quantity)).sum();
    let items = Value::Array(created.items.iter().map(item).collect());
    let amount = |amount: domain::Amount| Some(amount.0.to_string());
    vec![
        Some(created.establishment_id.to_string()),
        number.map(|number| number.to_string()),
        Some(created.business_date.to_string()),
        text(&created.reference),
        Some(created.service_type.as_str().to_owned()),
        text(&created.channel),
        created.table_id.as_ref().map(ToString::to_string),
        Some(created.terms.currency.to_string()),
        amount(totals.subtotal),
        amount(totals.discount),
        amount(totals.tax),
        amount(totals.tip),
        amount(totals.total),
        Some(units.to_string()),
        Some(json::spelled(&items)),
        customer
            .and_then(|who| who.customer_id.as_ref())
            .map(ToString::to_string),
        personal(customer.and_then(|who| who.name.as_ref())),
        personal(customer.and_then(|who| who.contact.as_ref())),
        personal(created.note.as_ref()),
        Some(created.placed_at.to_string()),
    ]
}

/// A line as it stands on the row; what it does not have is left out.
fn item(item: &OrderItem) -> Value {
    let modifiers = item.modifiers.iter().map(|modifier| {
        object([
            (
                "modifier_id",
                modifier.modifier_id.as_ref().map(|id| id.as_str().into()),
            ),
            ("name", Some(modifier.name.as_str().into())),
            ("price", Some(modifier.price.0.into())),
        ])
    });
    object([
        ("line_id", Some(item.line_id.as_str().into())),
        ("product_id", item.product_id.as_ref().map(|id| id.as_str().into())),
        ("name", Some(item.name.as_str().into())),
        ("quantity", Some(item.quantity.into())),
        ("unit_price", Some(item.unit_price.0.into())),
        ("modifiers", Some(modifiers.collect())),
        ("note", item.note.as_ref().map(|note| note.text().into())),
        ("line_total", Some(item.line_total.0.into())),
    ])
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}
