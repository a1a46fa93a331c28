//! The headers that records have are the headers that are described.

use domain::metadata::key;
use domain::{EventId, OrderId, Sequence, StreamId, TenantId};
use event_store::{Incarnation, Position, RecordedEvent, ShardId, Slot, SlotPosition};
use rdkafka::message::Headers as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

fn event(metadata: &[(&str, &str)]) -> RecordedEvent {
    let tenant = TenantId::new("acme").unwrap();
    RecordedEvent {
        position: Position(4711),
        slot: Slot::of(&tenant),
        slot_position: SlotPosition(17),
        incarnation: Incarnation(0),
        stream: StreamId::order(&tenant, OrderId(Uuid::from_u128(5))),
        sequence: Sequence(3),
        event_id: EventId(Uuid::from_u128(9)),
        event_type: "OrderStatusChanged".to_owned(),
        event_version: "1.0".to_owned(),
        payload: RawValue::from_string("{}".to_owned()).unwrap(),
        metadata: metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        recorded_at: "2026-03-01T12:00:00.123456Z".parse().unwrap(),
    }
}

fn headers(event: &RecordedEvent) -> Map<String, Value> {
    let encoded = relay::record::encode(event, ShardId(1), 8);
    let text = |value: Option<&[u8]>| std::str::from_utf8(value.unwrap()).unwrap().to_owned();
    encoded
        .headers
        .iter()
        .map(|header| (header.key.to_owned(), text(header.value).into()))
        .collect()
}

fn described() -> Value {
    contracts::asyncapi()["components"]["schemas"]["Headers"].clone()
}

#[test]
fn given_a_record_with_everything_then_each_header_is_described_and_as_described() {
    let fingerprint = "0".repeat(64);
    let everything = event(&[
        (key::TENANT_ID, "acme"),
        (key::ESTABLISHMENT_ID, "main"),
        (key::OCCURRED_AT, "2026-03-01T12:00:00Z"),
        (key::ACTOR, "till 1, größer"),
        (key::CORRELATION_ID, "c"),
        (key::CAUSATION_ID, "d"),
        (key::OPERATION, "create_order"),
        (key::IDEMPOTENCY_KEY, "k"),
        (key::FINGERPRINT, &fingerprint),
        (key::NUMBER, "12"),
        ("some_thing_new", "kept"),
    ]);
    let (headers, described) = (headers(&everything), described());
    let names = |of: &Map<String, Value>| of.keys().cloned().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names(&headers), names(described["properties"].as_object().unwrap()));
    jsonschema::validate(&described, &Value::Object(headers)).unwrap();
}

#[test]
fn given_a_record_with_the_least_then_exactly_the_required_headers_are_there() {
    let (headers, described) = (headers(&event(&[])), described());
    let required = described["required"].as_array().unwrap();
    assert_eq!(required.len(), headers.len());
    for name in required {
        assert!(headers.contains_key(name.as_str().unwrap()), "{name}");
        let mut without = headers.clone();
        without.remove(name.as_str().unwrap());
        assert!(!jsonschema::is_valid(&described, &Value::Object(without)), "{name}");
    }
    jsonschema::validate(&described, &Value::Object(headers)).unwrap();
}
