//! Event to record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use event_store::{RecordedEvent, ShardId};
use rdkafka::message::{Header, OwnedHeaders};

use super::{METADATA, header, partition_of};

/// A record but for its topic; key and value are borrowed from the event.
#[derive(Debug)]
pub struct Encoded<'a> {
    pub key: &'a str,
    pub payload: &'a str,
    pub partition: i32,
    pub timestamp_ms: i64,
    pub headers: OwnedHeaders,
}

/// An event of `shard` as a record for a topic of `partitions`.
pub fn encode(event: &RecordedEvent, shard: ShardId, partitions: u16) -> Encoded<'_> {
    let attributes = attributes(event, shard);
    let mut headers = OwnedHeaders::new_with_capacity(attributes.len());
    for (name, value) in &attributes {
        headers = headers.insert(Header {
            key: name,
            value: Some(value.as_bytes()),
        });
    }
    Encoded {
        key: event.stream.tenant().as_str(),
        payload: event.payload.get(),
        partition: partition_of(event.slot, partitions),
        timestamp_ms: event.recorded_at.as_datetime().timestamp_millis(),
        headers,
    }
}

fn attributes(event: &RecordedEvent, shard: ShardId) -> Vec<(&'static str, Cow<'_, str>)> {
    let (stream, tenant) = (&event.stream, event.stream.tenant().as_str());
    let mut attributes = vec![
        (header::CONTENT_TYPE, Cow::Borrowed("application/json")),
        (header::SPEC_VERSION, Cow::Borrowed("1.0")),
        (header::ID, event.event_id.to_string().into()),
        (header::SOURCE, format!("/tenants/{tenant}").into()),
        (header::TYPE, Cow::Borrowed(event.event_type.as_str())),
        (header::TIME, event.recorded_at.to_string().into()),
        (header::SUBJECT, format!("{}/{}", stream.kind(), stream.id()).into()),
        (
            header::DATA_SCHEMA,
            format!("urn:comanda:event:{}:{}", event.event_type, event.event_version).into(),
        ),
        (header::EVENT_VERSION, Cow::Borrowed(event.event_version.as_str())),
        (header::TENANT_ID, Cow::Borrowed(tenant)),
        (header::STREAM, stream.to_string().into()),
        (header::SEQUENCE, event.sequence.to_string().into()),
        (header::SLOT, event.slot.to_string().into()),
        (header::SLOT_POSITION, event.slot_position.to_string().into()),
        (header::INCARNATION, event.incarnation.to_string().into()),
        (header::SHARD, shard.to_string().into()),
        (header::SHARD_POSITION, event.position.to_string().into()),
    ];
    let mut others = BTreeMap::new();
    for (key, value) in &event.metadata {
        match METADATA.iter().find(|(known, _)| known == key) {
            // The stream's own name for it stands above.
            Some((_, header::TENANT_ID)) => {}
            Some((_, attribute)) => attributes.push((attribute, Cow::Borrowed(value.as_str()))),
            None => drop(others.insert(key, value)),
        }
    }
    if !others.is_empty() {
        // A map of strings always prints.
        let others = serde_json::to_string(&others).unwrap_or_default();
        attributes.push((header::METADATA, others.into()));
    }
    attributes
}
