//! The columns of an exported table: one list for CSV, Parquet and the documentation.
//!
//! The tenant's column is `tenant_id`, not `tenant`: folders are partitioned by `tenant=…`, and some
//! readers refuse a file that has a column of the same name as its folder.

use std::borrow::Cow;

use chrono::NaiveDate;
use domain::Timestamp;
use domain::metadata::key;
use event_store::RecordedEvent;

use crate::fields::{Fields, Str};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int32,
    Int64,
    Bool,
    /// UTC, microseconds.
    Time,
    Date,
}

/// One value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    None,
    Text(Cow<'a, str>),
    Int(i64),
    Bool(bool),
    Time(Timestamp),
    Date(NaiveDate),
}

/// A column of the exported table.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether every event has it.
    pub required: bool,
    pub meaning: &'static str,
    pub(crate) read: for<'r> fn(&Row<'r>) -> Cell<'r>,
}

/// An event, as its columns are read from it.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    event: &'a RecordedEvent,
    fields: Fields<'a>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(event: &'a RecordedEvent, fields: Fields<'a>) -> Self {
        Self { event, fields }
    }

    fn entry(&self, name: &str) -> Cell<'a> {
        text(self.event.metadata.get(name).map(String::as_str))
    }

    fn metadata(&self) -> Cell<'a> {
        let sorted: std::collections::BTreeMap<_, _> = self.event.metadata.iter().collect();
        // A map of strings always prints.
        Cell::Text(Cow::Owned(serde_json::to_string(&sorted).unwrap_or_default()))
    }
}

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::None, |value| Cell::Text(Cow::Borrowed(value)))
}

fn owned<'a>(value: Option<&Str<'a>>) -> Cell<'a> {
    value.map_or(Cell::None, |value| Cell::Text(value.0.clone()))
}

fn int<'a>(value: Option<i64>) -> Cell<'a> {
    value.map_or(Cell::None, Cell::Int)
}

fn time<'a>(value: Option<Timestamp>) -> Cell<'a> {
    value.map_or(Cell::None, Cell::Time)
}

macro_rules! columns {
    ($($name:literal $kind:ident $required:literal $meaning:literal: $read:expr;)*) => {
        /// All columns, in order.
        pub static COLUMNS: &[Column] = &[$(Column {
            name: $name,
            kind: Kind::$kind,
            required: $required,
            meaning: $meaning,
            read: $read,
        }),*];
    };
}

columns! {
    "event_id" Text true "the event's id, a UUID": |row| Cell::Text(row.event.event_id.to_string().into());
    "type" Text true "the type of the event": |row| text(Some(&row.event.event_type));
    "version" Text true "of the shape of `payload`": |row| text(Some(&row.event.event_version));
    "tenant_id" Text true "whose event it is": |row| text(Some(row.event.stream.tenant().as_str()));
    "establishment_id" Text false "where it happened": |row| row.entry(key::ESTABLISHMENT_ID);
    "stream_kind" Text true "`order`, `product` or `establishment`": |row| text(Some(row.event.stream.kind().as_str()));
    "stream_id" Text true "which one, within the tenant": |row| text(Some(row.event.stream.id()));
    "sequence" Int64 true "counts the events of that one thing from 1": |row| Cell::Int(row.event.sequence.0);
    "slot" Int32 true "the slot that the tenant is in, 0 to 1023": |row| Cell::Int(row.event.slot.0.into());
    "slot_position" Int64 true "counts the events of the slot from 1; the only order between streams": |row| Cell::Int(row.event.slot_position.0);
    "incarnation" Int32 true "of the slot; rises when its shard is restored or promoted": |row| Cell::Int(row.event.incarnation.0.into());
    "recorded_at" Time true "when the log recorded it; never goes back within a slot": |row| Cell::Time(row.event.recorded_at);
    "occurred_at" Time false "when it happened, by the device's clock": |row| time(row.event.metadata.get(key::OCCURRED_AT).and_then(|at| at.parse().ok()));
    "actor" Text false "who did it": |row| row.entry(key::ACTOR);
    "correlation_id" Text false "what it belongs to": |row| row.entry(key::CORRELATION_ID);
    "causation_id" Text false "what caused it": |row| row.entry(key::CAUSATION_ID);
    "operation" Text false "the command that it came of": |row| row.entry(key::OPERATION);
    "idempotency_key" Text false "the key that the command carried": |row| row.entry(key::IDEMPOTENCY_KEY);
    "number" Int64 false "the order's number of its day, on its first event": |row| int(row.event.number().map(|number| number.0));
    "order_id" Text false "the order": |row| owned(row.fields.order_id.as_ref());
    "business_date" Date false "the order's day on its establishment's calendar": |row| row.fields.business_date.as_ref().and_then(|date| date.0.parse().ok()).map_or(Cell::None, Cell::Date);
    "service_type" Text false "how the order reaches the customer": |row| owned(row.fields.service_type.as_ref());
    "channel" Text false "where the order came from": |row| owned(row.fields.channel.as_ref());
    "table_id" Text false "the order's table": |row| owned(row.fields.table_id.as_ref());
    "customer_id" Text false "the known customer": |row| owned(row.fields.customer.as_ref().and_then(|customer| customer.customer_id.as_ref()));
    "status" Text false "the order's status after the event": |row| row.fields.status.clone().map_or(Cell::None, Cell::Text);
    "from_status" Text false "before a change of status": |row| owned(row.fields.from.as_ref());
    "to_status" Text false "after a change of status": |row| owned(row.fields.to.as_ref());
    "reason" Text false "of a change of status": |row| owned(row.fields.reason.as_ref());
    "currency" Text false "ISO 4217, of all amounts of the row": |row| row.fields.currency().map_or(Cell::None, |code| Cell::Text(code.to_owned().into()));
    "subtotal_minor" Int64 false "the sum of the order's lines, in minor units": |row| int(row.fields.totals.map(|totals| totals.subtotal));
    "discount_minor" Int64 false "in minor units": |row| int(row.fields.totals.map(|totals| totals.discount));
    "tax_minor" Int64 false "in minor units": |row| int(row.fields.totals.map(|totals| totals.tax));
    "tip_minor" Int64 false "in minor units": |row| int(row.fields.totals.map(|totals| totals.tip));
    "total_minor" Int64 false "what the order costs, in minor units": |row| int(row.fields.totals.map(|totals| totals.total));
    "item_count" Int64 false "units ordered": |row| int(row.fields.item_count());
    "product_id" Text false "the product": |row| owned(row.fields.product_id.as_ref());
    "name" Text false "of the product or establishment": |row| owned(row.fields.name.as_ref());
    "price_minor" Int64 false "of the product, in minor units": |row| int(row.fields.price.as_ref().map(|price| price.amount));
    "available" Bool false "whether the product is on sale, where that changed": |row| row.fields.available.map_or(Cell::None, Cell::Bool);
    "payload" Text true "the event as it was stored, JSON": |row| text(Some(row.event.payload.get()));
    "metadata" Text true "all that travels beside it, a flat JSON object": |row| row.metadata();
}
