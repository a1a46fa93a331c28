//! An event as one JSON document: what `events tail` prints, and a line of an NDJSON file.

use std::collections::BTreeMap;

use event_store::RecordedEvent;
use serde::Serialize;
use serde_json::value::RawValue;

/// An event with all that was stored of it; the payload byte for byte.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Of the shape of `payload`.
    pub version: &'a str,
    pub tenant: &'a str,
    /// `kind:tenant/id`
    pub stream: String,
    /// Counts within the stream.
    pub sequence: i64,
    pub slot: u16,
    /// Counts within the slot.
    pub slot_position: i64,
    pub incarnation: i32,
    /// RFC 3339, UTC, to the microsecond.
    pub recorded_at: String,
    pub payload: &'a RawValue,
    pub metadata: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    pub fn of(event: &'a RecordedEvent) -> Self {
        let metadata = event.metadata.iter();
        Self {
            id: event.event_id.to_string(),
            kind: &event.event_type,
            version: &event.event_version,
            tenant: event.stream.tenant().as_str(),
            stream: event.stream.to_string(),
            sequence: event.sequence.0,
            slot: event.slot.0,
            slot_position: event.slot_position.0,
            incarnation: event.incarnation.0,
            recorded_at: event.recorded_at.to_string(),
            payload: &event.payload,
            metadata: metadata.map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        }
    }
}
