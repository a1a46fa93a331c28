//! Whatever is in an event comes back from each format as it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use domain::metadata::key;
use domain::{EventId, Metadata, OrderId, Sequence, StreamId, TenantId, Timestamp};
use event_store::{Incarnation, Position, RecordedEvent, Slot, SlotPosition};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Format, Part};
use crate::columns::{COLUMNS, Cell, Kind, Row};
use crate::fields::{self, Fields};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(format: Format, events: &[RecordedEvent]) -> Vec<u8> {
    let (memory, path) = (Memory::default(), "memory".as_ref());
    let mut part = Part::new(format, Box::new(memory.clone()), path).unwrap();
    for (nth, event) in events.iter().enumerate() {
        part.write(event, path).unwrap();
        if nth % 3 == 2 {
            part.spill(path).unwrap();
        }
    }
    part.finish(path).unwrap();
    memory.0.lock().unwrap().clone()
}

/// Text of every kind: quotes, line ends, escapes, what is beyond ASCII.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9-]{1,12}", "[\\PC\n\r\t\",;\\\\]{0,24}"]
}

fn payload() -> impl Strategy<Value = (&'static str, Value)> {
    let created = (text(), any::<i32>(), 1..9_u32, text(), proptest::option::of(text())).prop_map(
        |(channel, total, quantity, name, table)| {
            let mut order = json!({
                "type": "OrderCreated", "order_id": Uuid::from_u128(4), "establishment_id": "main",
                "terms": {"kind": "restaurant", "time_zone": "Europe/Rome", "currency": "EUR",
                          "tax": {"mode": "inclusive", "rate_ppm": 100_000}},
                "business_date": "2026-02-28", "placed_at": "2026-03-01T03:30:00.123456Z",
                "service_type": "dine_in", "channel": channel,
                "items": [{"line_id": "1", "name": name, "quantity": quantity, "unit_price": 1, "line_total": 1}],
                "totals": {"subtotal": total, "discount": 0, "tax": 0, "tip": 0, "total": total},
            });
            if let Some(table) = table {
                order["table_id"] = json!(table);
            }
            ("OrderCreated", order)
        },
    );
    let changed = prop_oneof![Just("accepted"), Just("cancelled")].prop_map(|to| {
        let change = json!({"type": "OrderStatusChanged", "order_id": Uuid::from_u128(4), "from": "placed",
                            "to": to, "changed_at": "2026-03-01T03:31:00.000000Z"});
        ("OrderStatusChanged", change)
    });
    let product = (text(), any::<i32>()).prop_map(|(name, amount)| {
        let product = json!({"type": "ProductDefined", "product_id": "p", "name": name,
                             "price": {"amount": amount, "currency": "EUR"}});
        ("ProductDefined", product)
    });
    // Of a later program, or not as it should be.
    let unknown = text().prop_map(|text| ("OrderTeleported", json!({"order_id": 7, "where": text})));
    let malformed = text().prop_map(|text| ("OrderCreated", json!([text])));
    prop_oneof![created, changed, product, unknown, malformed]
}

prop_compose! {
    fn event()(
        (event_type, payload) in payload(),
        entries in proptest::collection::hash_map("[a-z_]{1,8}", text(), 0..4),
        actor in proptest::option::of(text()),
        number in proptest::option::of(1..1_000_000_i64),
        (position, slot, second) in (1..i64::MAX, 0..Slot::COUNT, 0..100_000_000_i64),
        id in any::<u128>(),
    ) -> RecordedEvent {
        let mut metadata: Metadata = entries;
        metadata.extend(actor.map(|actor| (key::ACTOR.to_owned(), actor)));
        metadata.extend(number.map(|number| (key::NUMBER.to_owned(), number.to_string())));
        let first: Timestamp = "2024-01-01T00:00:00.654321Z".parse().unwrap();
        RecordedEvent {
            position: Position(position),
            slot: Slot(slot),
            slot_position: SlotPosition(position),
            incarnation: Incarnation(1),
            stream: StreamId::order(&TenantId::new("acme").unwrap(), OrderId(Uuid::from_u128(4))),
            sequence: Sequence(position),
            event_id: EventId(Uuid::from_u128(id)),
            event_type: event_type.to_owned(),
            event_version: "1.0".to_owned(),
            payload: RawValue::from_string(payload.to_string()).unwrap(),
            metadata,
            recorded_at: first.plus_seconds(second),
        }
    }
}

/// What the columns of an event say, as text.
fn expected(event: &RecordedEvent) -> BTreeMap<&'static str, Option<String>> {
    let today = fields::today(event);
    let fields = today.as_ref().map(|(kind, payload)| Fields::of(*kind, payload));
    let row = Row::new(event, fields.unwrap_or_default());
    let cell = |cell: Cell<'_>| match cell {
        Cell::None => None,
        Cell::Text(text) => Some(text.into_owned()),
        Cell::Int(number) => Some(number.to_string()),
        Cell::Bool(value) => Some(value.to_string()),
        Cell::Time(time) => Some(time.to_string()),
        Cell::Date(date) => Some(date.to_string()),
    };
    COLUMNS
        .iter()
        .map(|column| (column.name, cell((column.read)(&row))))
        .collect()
}

fn from_batch(batch: &RecordBatch, row: usize) -> BTreeMap<&'static str, Option<String>> {
    let value = |name: &str, kind: Kind| {
        let column = batch.column_by_name(name).unwrap();
        if column.is_null(row) {
            return None;
        }
        Some(match kind {
            Kind::Text => column.as_string::<i32>().value(row).to_owned(),
            Kind::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
            Kind::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            Kind::Bool => column.as_boolean().value(row).to_string(),
            Kind::Time => {
                let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
                Timestamp::new(chrono::DateTime::from_timestamp_micros(micros).unwrap()).to_string()
            }
            Kind::Date => {
                let days = column.as_primitive::<arrow_array::types::Date32Type>();
                days.value_as_date(row).unwrap().to_string()
            }
        })
    };
    COLUMNS
        .iter()
        .map(|column| (column.name, value(column.name, column.kind)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn given_any_events_when_written_as_ndjson_then_they_read_back_to_the_byte(
        events in proptest::collection::vec(event(), 1..12)
    ) {
        let text = String::from_utf8(written(Format::Ndjson, &events)).unwrap();
        prop_assert_eq!(text.lines().count(), events.len());
        for (line, event) in text.lines().zip(&events) {
            #[derive(serde::Deserialize)]
            struct Back { id: String, stream: String, recorded_at: Timestamp, payload: Box<RawValue>, metadata: Metadata }
            let back: Back = serde_json::from_str(line).unwrap();
            prop_assert_eq!((back.id, back.stream), (event.event_id.to_string(), event.stream.to_string()));
            prop_assert_eq!((back.payload.get(), back.recorded_at), (event.payload.get(), event.recorded_at));
            prop_assert_eq!(&back.metadata, &event.metadata);
        }
    }

    #[test]
    fn given_any_events_when_written_as_csv_then_every_column_reads_back(
        events in proptest::collection::vec(event(), 1..12)
    ) {
        let bytes = written(Format::Csv, &events);
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(rows.len(), events.len());
        for (row, event) in rows.iter().zip(&events) {
            let expected = expected(event);
            for (name, value) in header.iter().zip(row) {
                // CSV has one value for "none" and for "empty".
                prop_assert_eq!(Some(value), expected[name].as_deref().or(Some("")), "{}", name);
            }
        }
    }

    #[test]
    fn given_any_events_when_written_as_parquet_then_every_column_reads_back_typed(
        events in proptest::collection::vec(event(), 1..12)
    ) {
        let bytes = bytes::Bytes::from(written(Format::Parquet, &events));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| from_batch(batch, row)));
        let rows: Vec<_> = rows.collect();
        prop_assert_eq!(rows.len(), events.len());
        for (row, event) in rows.iter().zip(&events) {
            prop_assert_eq!(row, &expected(event));
        }
    }
}

#[test]
fn given_the_golden_events_then_the_columns_that_analysts_ask_for_are_filled() {
    let golden = |name: &str| {
        let text = std::fs::read_to_string(format!(
            "{}/../domain/tests/golden/{name}-1.0.json",
            env!("CARGO_MANIFEST_DIR")
        ));
        let (kind, text) = (domain::EventType::from_stored(name).unwrap(), text.unwrap());
        let fields = Fields::of(kind, &text);
        (
            fields.status.as_deref().map(str::to_owned),
            fields.currency().map(str::to_owned),
            fields.totals.map(|totals| totals.total),
            fields.item_count(),
            fields.price.as_ref().map(|price| price.amount).is_some(),
        )
    };
    let usd = || Some("USD".to_owned());
    assert_eq!(
        golden("OrderCreated"),
        (Some("placed".to_owned()), usd(), Some(2123), Some(2), false)
    );
    assert!(matches!(
        golden("OrderStatusChanged"),
        (Some(_), None, None, None, false)
    ));
    assert!(matches!(golden("ProductDefined"), (None, Some(_), None, None, true)));
    assert!(matches!(
        golden("EstablishmentDefined"),
        (None, Some(_), None, None, false)
    ));
}

#[test]
fn given_the_documentation_then_it_has_every_column_and_no_other() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.md")).unwrap();
    let table = page.split_once("| column | type | |").unwrap().1;
    let table = table.split_once("\n\n").unwrap().0;
    let rows: Vec<String> = table.lines().skip(2).map(str::to_owned).collect();
    let row = |column: &crate::columns::Column| {
        let kind = match column.kind {
            Kind::Text => "text",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::Bool => "boolean",
            Kind::Time => "timestamp",
            Kind::Date => "date",
        };
        let optional = if column.required { "" } else { ", optional" };
        format!("| `{}` | {kind}{optional} | {} |", column.name, column.meaning)
    };
    assert_eq!(rows, COLUMNS.iter().map(row).collect::<Vec<_>>());
}
