//! Parked streams with the events that wait, as the log has them.

use domain::{Metadata, Sequence, Timestamp};
use event_store::{RecordedEvent, SlotPosition};
use serde_json::value::RawValue;
use sqlx::PgPool;

use super::{ParkedStream, Selection, list};
use crate::error::Error;
use crate::feed::Log;

/// Events of one stream that are shown; the others are only counted.
const SHOWN: i64 = 100;

/// A parked stream and the first events that wait.
#[derive(Debug, Clone)]
pub struct Shown {
    pub parked: ParkedStream,
    pub events: Vec<ParkedEvent>,
}

/// An event that waits.
#[derive(Debug, Clone)]
pub struct ParkedEvent {
    pub sequence: Sequence,
    pub slot_position: SlotPosition,
    /// What the log has there; `None` where it has another stream's event, or none.
    pub content: Option<Content>,
}

/// An event as it was stored.
#[derive(Debug, Clone)]
pub struct Content {
    pub event_type: String,
    pub event_version: String,
    pub recorded_at: Timestamp,
    pub metadata: Metadata,
    pub payload: Box<RawValue>,
    /// Why today's code cannot read it; `None` where it can.
    pub unreadable: Option<String>,
}

/// The parked streams that are selected, with up to 100 events each.
///
/// # Errors
/// Where the read store or the log does not answer.
pub async fn show<L: Log>(read_store: &PgPool, log: &L, selection: &Selection) -> Result<Vec<Shown>, Error> {
    let mut shown = vec![];
    for parked in list(read_store, selection).await? {
        let mut events = vec![];
        for (sequence, slot_position) in references(read_store, &parked).await? {
            let (sequence, slot_position) = (Sequence(sequence), SlotPosition(slot_position));
            let before = SlotPosition(slot_position.0 - 1);
            let found = log.read_slot(parked.slot, before, 1).await?;
            let is = |event: &RecordedEvent| event.slot_position == slot_position && event.stream == parked.stream;
            events.push(ParkedEvent {
                sequence,
                slot_position,
                content: found.into_iter().find(is).map(Content::of),
            });
        }
        shown.push(Shown { parked, events });
    }
    Ok(shown)
}

async fn references(read_store: &PgPool, parked: &ParkedStream) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT sequence, slot_position FROM meta.parked_events
          WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4
          ORDER BY sequence LIMIT $5",
    )
    .bind(&parked.read_model)
    .bind(parked.generation)
    .bind(parked.stream.kind().as_str())
    .bind(parked.stream.aggregate_id())
    .bind(SHOWN)
    .fetch_all(read_store)
    .await
}

impl Content {
    fn of(recorded: RecordedEvent) -> Self {
        Self {
            unreadable: recorded.decode().err().map(|error| error.to_string()),
            event_type: recorded.event_type,
            event_version: recorded.event_version,
            recorded_at: recorded.recorded_at,
            metadata: recorded.metadata,
            payload: recorded.payload,
        }
    }
}
