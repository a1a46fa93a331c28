//! Stored payloads are what the schemas say, and what is broken is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use contracts::schema;
use domain::order::{OrderStatus, Reason};
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

fn time() -> impl Strategy<Value = Value> {
    let time = |micros| domain::Timestamp::new(chrono::DateTime::from_timestamp_micros(micros).unwrap());
    (0_i64..4_000_000_000_000_000).prop_map(move |micros| time(micros).to_string().into())
}

fn one_of(names: &[&'static str]) -> impl Strategy<Value = Value> + use<> {
    prop::sample::select(names.to_vec()).prop_map(Value::from)
}

fn currency() -> impl Strategy<Value = Value> {
    one_of(&["EUR", "USD", "JPY", "KWD", "CLP", "UYW"])
}

fn status() -> impl Strategy<Value = Value> {
    prop::sample::select(OrderStatus::ALL).prop_map(|status| status.as_str().into())
}

fn tax() -> impl Strategy<Value = Value> {
    (one_of(&["inclusive", "additive"]), 0_u32..=1_000_000)
        .prop_map(|(mode, rate_ppm)| json!({"mode": mode, "rate_ppm": rate_ppm}))
}

fn modifiers() -> impl Strategy<Value = Value> {
    let modifier =
        (id(), text(), amount()).prop_map(|(id, name, price)| json!({"id": id, "name": name, "price": price}));
    prop::collection::vec(modifier, 0..4).prop_map(Value::from)
}

/// An event's payload with these fields changed, and those that are `None` left out.
fn changed<const N: usize>(event: EventType, fields: [(&str, Option<Value>); N]) -> Value {
    let mut payload = golden(event);
    let all = payload.as_object_mut().unwrap();
    for (name, value) in fields {
        match value {
            Some(value) => all.insert(name.to_owned(), value),
            None => all.remove(name),
        };
    }
    payload
}

/// What the code reads and writes again, the schema accepts.
fn written_is_as_described(event: EventType, payload: Value) -> Result<(), TestCaseError> {
    let written = match Event::decode(event.as_str(), event.version(), payload).unwrap() {
        Event::Order(event) => serde_json::to_value(event),
        Event::Product(event) => serde_json::to_value(event),
        Event::Establishment(event) => serde_json::to_value(event),
    };
    let verdict = validator(&schema(event))
        .validate(&written.unwrap())
        .map_err(|error| error.to_string());
    prop_assert_eq!(verdict, Ok(()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn given_any_order_then_its_payload_as_written_is_as_described(
        name in text(), id in id(), amount in amount(), quantity in 1_u32.., rate in 0_u32..=1_000_000, placed_at in time(),
        drop in prop::collection::vec(any::<bool>(), 6),
    ) {
        let mut payload = golden(EventType::OrderCreated);
        payload["placed_at"] = placed_at;
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
        written_is_as_described(EventType::OrderCreated, payload)?;
    }

    #[test]
    fn given_any_change_of_status_then_its_payload_as_written_is_as_described(
        order_id in any::<u128>(), from in status(), to in status(), changed_at in time(),
        reason in prop::option::of(prop::sample::select(Reason::ALL)),
    ) {
        let payload = changed(EventType::OrderStatusChanged, [
            ("order_id", Some(uuid::Uuid::from_u128(order_id).to_string().into())),
            ("from", Some(from)),
            ("to", Some(to)),
            ("reason", reason.map(|reason| reason.as_str().into())),
            ("changed_at", Some(changed_at)),
        ]);
        written_is_as_described(EventType::OrderStatusChanged, payload)?;
    }

    #[test]
    fn given_any_product_then_its_payload_as_written_is_as_described(
        product_id in id(), name in text(), amount in amount(), currency in currency(),
        establishment_id in prop::option::of(id()), category in prop::option::of(text()), modifiers in prop::option::of(modifiers()),
    ) {
        let payload = changed(EventType::ProductDefined, [
            ("product_id", Some(product_id)),
            ("name", Some(name)),
            ("price", Some(json!({"amount": amount, "currency": currency}))),
            ("establishment_id", establishment_id),
            ("category", category),
            ("modifiers", modifiers),
        ]);
        written_is_as_described(EventType::ProductDefined, payload)?;
    }

    #[test]
    fn given_any_establishment_then_its_payload_as_written_is_as_described(
        establishment_id in id(), name in text(), currency in currency(), tax in tax(),
        time_zone in one_of(&["Europe/Rome", "America/Argentina/Buenos_Aires", "Asia/Kathmandu", "UTC", "Etc/GMT+12"]),
        kind in one_of(&["restaurant", "retail"]),
    ) {
        let payload = changed(EventType::EstablishmentDefined, [
            ("establishment_id", Some(establishment_id)),
            ("name", Some(name)),
            ("time_zone", Some(time_zone)),
            ("currency", Some(currency)),
            ("tax", Some(tax)),
            ("kind", Some(kind)),
        ]);
        written_is_as_described(EventType::EstablishmentDefined, payload)?;
    }
}
