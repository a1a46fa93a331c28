//! Stored payloads are what the schemas say, and what is broken is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use contracts::schema;
use domain::{DecodeError, Event, EventType};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::committed::folder;

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every payload that a version ever had, by the committed schema of that version.
#[test]
fn given_every_golden_payload_then_its_schema_accepts_it() {
    let golden = folder().join("../domain/tests/golden");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let schema = read(&folder().join("schemas").join(&name));
        if let Err(error) = validator(&schema).validate(&read(&path)) {
            panic!("{name}: {error} at {}", error.instance_path());
        }
        seen.insert(name);
    }
    assert!(
        EventType::ALL
            .into_iter()
            .all(|event| seen.contains(&contracts::file_name(event)))
    );
}

fn golden(event: EventType) -> Value {
    read(
        &folder()
            .join("../domain/tests/golden")
            .join(contracts::file_name(event)),
    )
}

fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    if !at.is_empty() {
        into.push(at.to_owned());
    }
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), into)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Each part in turn is given a type that it cannot have.
#[test]
fn given_a_part_of_a_wrong_type_then_it_is_refused() {
    for event in EventType::ALL {
        let (validator, payload) = (validator(&schema(event)), golden(event));
        let mut all = Vec::new();
        pointers(&payload, "", &mut all);
        for pointer in all {
            for wrong in [json!([[]]), json!(1.5), json!(null), json!("")] {
                let mut broken = payload.clone();
                *broken.pointer_mut(&pointer).unwrap() = wrong.clone();
                let free_text = wrong == "" && pointer.ends_with("/subject");
                assert!(
                    free_text || !validator.is_valid(&broken),
                    "{event}: {pointer} as {wrong}"
                );
            }
        }
    }
}

/// What the schema asks for is what the code cannot read without.
#[test]
fn given_a_missing_field_then_schema_and_code_agree_whether_it_matters() {
    for event in EventType::ALL {
        let (validator, payload) = (validator(&schema(event)), golden(event));
        let mut all = Vec::new();
        pointers(&payload, "", &mut all);
        let mut refused = 0;
        for pointer in all {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let mut broken = payload.clone();
            let Some(Value::Object(fields)) = broken.pointer_mut(parent) else {
                continue;
            };
            fields.remove(name);
            let decoded = Event::decode(event.as_str(), event.version(), broken.clone());
            let readable = !matches!(decoded, Err(DecodeError::Malformed { .. }));
            assert_eq!(validator.is_valid(&broken), readable, "{event} without {pointer}");
            refused += u32::from(!readable);
        }
        assert!(refused > 0, "{event}");
    }
}

fn text() -> impl Strategy<Value = Value> {
    "[a-zà-ÿ漢😀]{1,40}".prop_map(Value::from)
}

fn id() -> impl Strategy<Value = Value> {
    "[A-Za-z0-9._-]{1,64}".prop_map(Value::from)
}

fn amount() -> impl Strategy<Value = Value> {
    (0_i64..=9_007_199_254_740_991).prop_map(Value::from)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// What the code reads and writes again, the schema accepts.
    #[test]
    fn given_any_order_then_its_payload_as_written_is_as_described(
        name in text(), id in id(), amount in amount(), quantity in 1_u32.., rate in 0_u32..=1_000_000, micros in 0_i64..4_000_000_000_000_000,
        drop in prop::collection::vec(any::<bool>(), 6),
    ) {
        let time = domain::Timestamp::new(chrono_of(micros));
        let mut payload = golden(EventType::OrderCreated);
        payload["placed_at"] = time.to_string().into();
        payload["establishment_id"] = id;
        payload["terms"]["tax"]["rate_ppm"] = rate.into();
        payload["items"][0]["name"] = name.clone();
        payload["items"][0]["quantity"] = quantity.into();
        payload["items"][0]["unit_price"] = amount.clone();
        payload["note"]["ct"] = name;
        payload["totals"]["total"] = amount;
        for (field, gone) in ["table_id", "reference", "channel", "customer", "note"].into_iter().zip(&drop) {
            if *gone { payload.as_object_mut().unwrap().remove(field); }
        }
        let event = Event::decode("OrderCreated", "1.0", payload).unwrap();
        let Event::Order(event) = event else { panic!("an order") };
        let written = serde_json::to_value(event).unwrap();
        let verdict = validator(&schema(EventType::OrderCreated)).validate(&written).map_err(|error| error.to_string());
        prop_assert_eq!(verdict, Ok(()));
    }
}

fn chrono_of(micros: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_micros(micros).unwrap()
}
