//! The topic as an AsyncAPI 3.0 document.

use domain::EventType;
use serde_json::{Map, Value, json};

use crate::file_name;

const TOPIC: &str = "comanda.events.v1";

/// The document. Payloads are the committed schemas, by relative reference.
pub fn asyncapi() -> Value {
    let mut messages = Map::new();
    let mut in_channel = Map::new();
    let mut in_operation = Vec::new();
    for event in EventType::ALL {
        messages.insert(event.to_string(), message(event));
        in_channel.insert(
            event.to_string(),
            json!({"$ref": format!("#/components/messages/{event}")}),
        );
        in_operation.push(json!({"$ref": format!("#/channels/events/messages/{event}")}));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Comanda: the log of events",
            "version": "1.0.0",
            "description": "Every event of the log, at least once, as a CloudEvent 1.0 in binary mode. A tenant's \
                events are all in one slot, a slot's records are all in partition `slot % partitions`, and their \
                first occurrences come in the order of `ce_slotposition`: 1, 2, 3… without gaps.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "Brokers of the installation; `kafka-secure` where it asks for TLS.",
                "variables": {"bootstrap": {"default": "localhost:9092", "description": "host:port of a broker"}},
            },
        },
        "channels": {
            "events": {
                "address": TOPIC,
                "title": "The log",
                "servers": [{"$ref": "#/servers/kafka"}],
                "messages": in_channel,
                "bindings": {"kafka": {
                    "topic": TOPIC,
                    "partitions": 64,
                    "replicas": 3,
                    "topicConfiguration": {
                        "cleanup.policy": ["delete"],
                        "min.insync.replicas": 2,
                        "retention.ms": 604_800_000,
                    },
                    "bindingVersion": "0.5.0",
                }},
            },
        },
        "operations": {
            "publishEvents": {
                "action": "send",
                "summary": "Comanda publishes what happened.",
                "channel": {"$ref": "#/channels/events"},
                "messages": in_operation,
            },
        },
        "components": {
            "messages": messages,
            "schemas": {"Headers": headers(), "Key": {
                "type": "string",
                "pattern": "^[A-Za-z0-9._-]{1,64}$",
                "description": "The tenant.",
            }},
        },
    })
}

fn message(event: EventType) -> Value {
    json!({
        "name": event.as_str(),
        "title": event.as_str(),
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": format!("./schemas/{}", file_name(event))},
        },
        "bindings": {"kafka": {"key": {"$ref": "#/components/schemas/Key"}, "bindingVersion": "0.5.0"}},
    })
}

/// Header, pattern, whether every record has it, and what it says.
const HEADERS: [(&str, &str, bool, &str); 27] = [
    ("content-type", "^application/json$", true, "Of the value."),
    ("ce_specversion", r"^1\.0$", true, "Of CloudEvents."),
    ("ce_id", UUID, true, "The event's id (UUID)."),
    (
        "ce_source",
        "^/tenants/[A-Za-z0-9._-]{1,64}$",
        true,
        "Whose event it is.",
    ),
    ("ce_type", "^[A-Za-z]+$", true, "The event's type."),
    (
        "ce_time",
        TIME,
        true,
        "When the log recorded it, RFC 3339 in UTC; never goes back within a slot.",
    ),
    (
        "ce_subject",
        "^[a-z]+/[A-Za-z0-9._-]{1,64}$",
        true,
        "Kind and id of what it happened to.",
    ),
    (
        "ce_dataschema",
        "^urn:comanda:event:[A-Za-z]+:[0-9.]+$",
        true,
        "The `$id` of the value's JSON Schema.",
    ),
    (
        "ce_eventversion",
        "^[0-9]+(\\.[0-9]+)*$",
        true,
        "The version of the value's shape.",
    ),
    ("ce_tenantid", "^[A-Za-z0-9._-]{1,64}$", true, "The tenant."),
    (
        "ce_stream",
        "^[a-z]+:[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}$",
        true,
        "The stream: kind, tenant and id.",
    ),
    (
        "ce_sequence",
        COUNT,
        true,
        "Counts within the stream from 1, without gaps.",
    ),
    ("ce_slot", "^[0-9]{1,4}$", true, "The slot, 0 to 1023."),
    (
        "ce_slotposition",
        COUNT,
        true,
        "Counts within the slot from 1, without gaps.",
    ),
    (
        "ce_incarnation",
        "^[0-9]+$",
        true,
        "Rises when the slot's shard was restored or promoted.",
    ),
    (
        "ce_shard",
        "^[0-9]+$",
        true,
        "Where the record was read; means nothing elsewhere.",
    ),
    ("ce_shardposition", "^[0-9]+$", true, "The position there."),
    ("ce_number", COUNT, false, "An order's number, on its first event."),
    (
        "ce_establishmentid",
        "^[A-Za-z0-9._-]{1,64}$",
        false,
        "Where it happened.",
    ),
    (
        "ce_occurredat",
        "T.*(Z|[+-][0-9]{2}:[0-9]{2})$",
        false,
        "When it happened by the device's clock, RFC 3339.",
    ),
    ("ce_actor", ".", false, "Who issued the command."),
    ("ce_correlationid", ".", false, "The request that it goes back to."),
    ("ce_causationid", ".", false, "What caused the command."),
    ("ce_operation", ".", false, "The operation that the command was."),
    ("ce_idempotencykey", ".", false, "The client's key of the command."),
    (
        "ce_fingerprint",
        "^[0-9a-f]{64}$",
        false,
        "SHA-256 of the command's canonical body, hex.",
    ),
    (
        "comanda_metadata",
        r"^\{",
        false,
        "A JSON object: further metadata, where there is any.",
    ),
];

const UUID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
const TIME: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$";
const COUNT: &str = "^[1-9][0-9]*$";

fn headers() -> Value {
    let properties = HEADERS.iter().map(|(name, pattern, _, about)| {
        let property = json!({"type": "string", "pattern": pattern, "description": about});
        ((*name).to_owned(), property)
    });
    let required = HEADERS.iter().filter(|(_, _, required, _)| *required);
    json!({
        "type": "object",
        "description": "UTF-8 text each. Ignore headers that you do not know.",
        "properties": properties.collect::<Map<_, _>>(),
        "required": required.map(|(name, ..)| *name).collect::<Vec<_>>(),
    })
}
