//! One row of the log, as readers of whole slots and shards get it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::metadata::key;
use domain::{DecodeError, Event, EventId, Metadata, OrderNumber, Sequence, StreamId, Timestamp};
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::Error;
use crate::ids::{Incarnation, Position, Slot, SlotPosition};
use crate::token::PositionToken;

/// A stored event with its place in the log. The payload is as it was stored: [`decode`] it.
///
/// [`decode`]: RecordedEvent::decode
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    pub position: Position,
    pub slot: Slot,
    pub slot_position: SlotPosition,
    pub incarnation: Incarnation,
    pub stream: StreamId,
    pub sequence: Sequence,
    pub event_id: EventId,
    pub event_type: String,
    pub event_version: String,
    pub payload: Box<RawValue>,
    pub metadata: Metadata,
    pub recorded_at: Timestamp,
}

impl RecordedEvent {
    /// The event in today's shape, whatever version it was stored in.
    ///
    /// # Errors
    /// [`DecodeError`]: newer than this binary, or malformed.
    pub fn decode(&self) -> Result<Event, DecodeError> {
        let payload = serde_json::from_str(self.payload.get()).map_err(|error| DecodeError::Malformed {
            event_type: self.event_type.clone(),
            version: self.event_version.clone(),
            reason: error.to_string(),
        })?;
        Event::decode(&self.event_type, &self.event_version, payload)
    }

    pub fn token(&self) -> PositionToken {
        PositionToken {
            slot: self.slot,
            incarnation: self.incarnation,
            slot_position: self.slot_position,
        }
    }

    /// The order number, on an order's first event.
    pub fn number(&self) -> Option<OrderNumber> {
        self.metadata.get(key::NUMBER)?.parse().ok().map(OrderNumber)
    }
}

/// The columns that [`from_row`] reads, of `events e JOIN slots s`.
pub(crate) const COLUMNS: &str = "e.position, e.slot, e.slot_position, s.incarnation, e.aggregate_type, \
    e.aggregate_id, e.sequence, e.event_id, e.event_type, e.event_version, e.payload, e.metadata, e.recorded_at";

/// # Errors
/// [`Error::UnknownStream`] for a kind of stream that a newer binary wrote; never skipped.
pub(crate) fn from_row(row: &PgRow) -> Result<RecordedEvent, Error> {
    let position = Position(row.try_get("position").map_err(Error::read)?);
    let (aggregate_type, aggregate_id): (String, String) = read_stream(row).map_err(Error::read)?;
    let Some(stream) = StreamId::from_stored(&aggregate_type, &aggregate_id) else {
        return Err(Error::UnknownStream {
            aggregate_type,
            aggregate_id,
            position,
        });
    };
    read_rest(row, position, stream).map_err(Error::read)
}

fn read_stream(row: &PgRow) -> Result<(String, String), sqlx::Error> {
    Ok((row.try_get("aggregate_type")?, row.try_get("aggregate_id")?))
}

fn read_rest(row: &PgRow, position: Position, stream: StreamId) -> Result<RecordedEvent, sqlx::Error> {
    let payload: &RawValue = row.try_get("payload")?;
    let metadata: Json<HashMap<String, String>> = row.try_get("metadata")?;
    let slot = Slot::from_i16(row.try_get("slot")?)
        .ok_or_else(|| sqlx::Error::Decode(format!("position {position} has a slot out of range").into()))?;
    Ok(RecordedEvent {
        position,
        slot,
        slot_position: SlotPosition(row.try_get("slot_position")?),
        incarnation: Incarnation(row.try_get("incarnation")?),
        stream,
        sequence: Sequence(row.try_get("sequence")?),
        event_id: EventId(row.try_get::<Uuid, _>("event_id")?),
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: payload.to_owned(),
        metadata: metadata.0,
        recorded_at: Timestamp::new(row.try_get::<DateTime<Utc>, _>("recorded_at")?),
    })
}
