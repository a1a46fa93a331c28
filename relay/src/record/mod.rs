//! A stored event as a Kafka record: a CloudEvent 1.0 in binary mode, and back.
//!
//! | part of the record | content |
//! |---|---|
//! | key | the tenant |
//! | partition | slot modulo the number of partitions |
//! | timestamp | when the log recorded it, in milliseconds |
//! | value | the payload, byte for byte as stored (JSON) |
//! | `content-type` | `application/json` |
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | the event's id |
//! | `ce_source` | `/tenants/<tenant>` |
//! | `ce_type` | the event's type, such as `OrderCreated` |
//! | `ce_time` | when the log recorded it, RFC 3339; never goes back within a slot |
//! | `ce_subject` | kind and id of what it happened to, such as `order/0192…` |
//! | `ce_dataschema` | `urn:comanda:event:<type>:<version>`, the `$id` of its JSON Schema |
//! | `ce_eventversion` | the version of the payload |
//! | `ce_tenantid` | the tenant |
//! | `ce_stream` | the stream, such as `order:acme/0192…` |
//! | `ce_sequence` | counts within the stream from 1, without gaps |
//! | `ce_slot` | the slot, 0 to 1023 |
//! | `ce_slotposition` | counts within the slot from 1, without gaps: at most the last one seen is a repetition, more than one beyond it is a loss |
//! | `ce_incarnation` | the slot's; it rises when its shard was restored or promoted |
//! | `ce_shard`, `ce_shardposition` | where the record came from; means nothing elsewhere |
//! | `ce_number` | an order's number, on its first event |
//! | `ce_establishmentid`, `ce_occurredat`, `ce_actor`, `ce_correlationid`, `ce_causationid`, `ce_operation`, `ce_idempotencykey`, `ce_fingerprint` | what the command carried, where it did |
//! | `comanda_metadata` | a JSON object: entries of the metadata that this table does not name |
//!
//! Header values are UTF-8. Records may come more than once; within a slot, first occurrences are
//! in order. What a consumer that does not know a header should do with it: nothing.

mod decode;
mod encode;

use domain::metadata::key;
use event_store::Slot;

pub use decode::{RecordError, decode};
pub use encode::{Encoded, encode};

/// Names of headers.
pub mod header {
    pub const CONTENT_TYPE: &str = "content-type";
    pub const SPEC_VERSION: &str = "ce_specversion";
    pub const ID: &str = "ce_id";
    pub const SOURCE: &str = "ce_source";
    pub const TYPE: &str = "ce_type";
    pub const TIME: &str = "ce_time";
    pub const SUBJECT: &str = "ce_subject";
    pub const DATA_SCHEMA: &str = "ce_dataschema";
    pub const EVENT_VERSION: &str = "ce_eventversion";
    pub const TENANT_ID: &str = "ce_tenantid";
    pub const STREAM: &str = "ce_stream";
    pub const SEQUENCE: &str = "ce_sequence";
    pub const SLOT: &str = "ce_slot";
    pub const SLOT_POSITION: &str = "ce_slotposition";
    pub const INCARNATION: &str = "ce_incarnation";
    pub const SHARD: &str = "ce_shard";
    pub const SHARD_POSITION: &str = "ce_shardposition";
    /// Metadata that has no header of its own.
    pub const METADATA: &str = "comanda_metadata";
}

/// Entries of an event's metadata, and the attributes that they travel as: CloudEvents allows
/// lower-case letters and digits only.
const METADATA: [(&str, &str); 10] = [
    (key::TENANT_ID, header::TENANT_ID),
    (key::ESTABLISHMENT_ID, "ce_establishmentid"),
    (key::OCCURRED_AT, "ce_occurredat"),
    (key::ACTOR, "ce_actor"),
    (key::CORRELATION_ID, "ce_correlationid"),
    (key::CAUSATION_ID, "ce_causationid"),
    (key::OPERATION, "ce_operation"),
    (key::IDEMPOTENCY_KEY, "ce_idempotencykey"),
    (key::FINGERPRINT, "ce_fingerprint"),
    (key::NUMBER, "ce_number"),
];

/// The partition that a slot's records are in.
pub fn partition_of(slot: Slot, partitions: u16) -> i32 {
    i32::from(slot.0 % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{EventId, OrderId, Sequence, StreamId, TenantId};
    use event_store::{Incarnation, Position, RecordedEvent, ShardId, SlotPosition};
    use rdkafka::message::{OwnedMessage, Timestamp};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    pub(super) fn event() -> RecordedEvent {
        let tenant = TenantId::new("acme").unwrap();
        let metadata = METADATA
            .iter()
            .map(|(key, _)| ((*key).to_owned(), format!("the {key}, größer")));
        let mut metadata: domain::Metadata = metadata.collect();
        metadata.insert(key::TENANT_ID.to_owned(), "acme".to_owned());
        metadata.insert("some_thing_new".to_owned(), "kept \"too\"".to_owned());
        RecordedEvent {
            position: Position(4711),
            slot: Slot::of(&tenant),
            slot_position: SlotPosition(17),
            incarnation: Incarnation(2),
            stream: StreamId::order(&tenant, OrderId(Uuid::from_u128(5))),
            sequence: Sequence(3),
            event_id: EventId(Uuid::from_u128(9)),
            event_type: "OrderStatusChanged".to_owned(),
            event_version: "1.0".to_owned(),
            // The spaces and the order of the keys are part of what was stored.
            payload: RawValue::from_string("{ \"type\" :\"OrderStatusChanged\",\"b\":1, \"a\":2 }".to_owned()).unwrap(),
            metadata,
            recorded_at: "2026-03-01T12:00:00.123456Z".parse().unwrap(),
        }
    }

    pub(super) fn message(event: &RecordedEvent) -> OwnedMessage {
        let encoded = encode(event, ShardId(1), 8);
        OwnedMessage::new(
            Some(encoded.payload.as_bytes().to_vec()),
            Some(encoded.key.as_bytes().to_vec()),
            "t".to_owned(),
            Timestamp::CreateTime(encoded.timestamp_ms),
            encoded.partition,
            0,
            Some(encoded.headers),
        )
    }

    #[test]
    fn an_event_reads_back_as_it_was_to_the_byte() {
        let event = event();
        let read = decode(&message(&event)).unwrap();
        assert_eq!(
            format!("{read:?}"),
            format!(
                "{:?}",
                RecordedEvent {
                    metadata: read.metadata.clone(),
                    ..event.clone()
                }
            )
        );
        assert_eq!(read.metadata, event.metadata);
        assert_eq!(read.payload.get(), event.payload.get());
    }

    #[test]
    fn every_entry_that_commands_and_the_log_write_has_an_attribute_of_its_own() {
        for key in [
            key::TENANT_ID,
            key::ESTABLISHMENT_ID,
            key::OCCURRED_AT,
            key::ACTOR,
            key::CORRELATION_ID,
            key::CAUSATION_ID,
            key::OPERATION,
            key::IDEMPOTENCY_KEY,
            key::FINGERPRINT,
            key::NUMBER,
        ] {
            let (_, attribute) = METADATA.iter().find(|(known, _)| *known == key).unwrap();
            let name = attribute.strip_prefix("ce_").unwrap();
            assert!(
                name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit()),
                "{attribute}"
            );
            assert_eq!(name, key.replace('_', ""));
        }
    }

    #[test]
    fn slots_go_around_the_partitions() {
        assert_eq!(
            [0, 1, 7, 8, 1023].map(|slot| partition_of(Slot(slot), 8)),
            [0, 1, 7, 0, 7]
        );
        assert_eq!(partition_of(Slot(1023), 64), 63);
        assert_eq!(partition_of(Slot(9), 0), 0);
    }
}
