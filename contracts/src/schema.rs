//! The schema of each event's payload, as it is stored and published.

use domain::EventType;
use domain::establishment::EstablishmentDefined;
use domain::order::{OrderCreated, OrderStatusChanged};
use domain::product::{ProductAvailabilityChanged, ProductDefined};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// Where the schema of an event's current version is committed, under `contracts/schemas`.
pub fn file_name(event: EventType) -> String {
    format!("{event}-{}.json", event.version())
}

/// The JSON Schema (2020-12) of an event's current version.
pub fn schema(event: EventType) -> Value {
    let mut schema = match event {
        EventType::OrderCreated => of::<OrderCreated>(),
        EventType::OrderStatusChanged => of::<OrderStatusChanged>(),
        EventType::ProductDefined => of::<ProductDefined>(),
        EventType::ProductAvailabilityChanged => of::<ProductAvailabilityChanged>(),
        EventType::EstablishmentDefined => of::<EstablishmentDefined>(),
    };
    without_null(&mut schema);
    let about = schema["description"].as_str().unwrap_or_default().to_owned();
    schema["$id"] = format!("urn:comanda:event:{event}:{}", event.version()).into();
    schema["title"] = event.as_str().into();
    schema["description"] = format!(
        "{about} Version {}. Amounts are integers in minor units of the currency; times are RFC 3339 in UTC, \
         to the microsecond. Ignore fields that you do not know.",
        event.version()
    )
    .into();
    schema["properties"]["type"] = json!({"const": event.as_str(), "description": "The event's type."});
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, "type".into());
    }
    schema
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// An absent field is left out of a stored payload, never written as `null`.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(kinds)) = fields.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [kind] = &kinds[..] {
                    let kind = kind.clone();
                    fields.insert("type".to_owned(), kind);
                }
            }
            if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = &choices[..] {
                    let only = only.clone();
                    fields.remove("anyOf");
                    fields.extend(only);
                }
            }
            fields.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
