//! An append, as asked for and as answered.

use domain::{EventId, Metadata, Numbering, OrderNumber, Sequence, StreamId, Timestamp};
use serde_json::value::RawValue;

use crate::ids::{Incarnation, Position, ShardId, Slot, SlotPosition};
use crate::token::PositionToken;

/// Events for one stream, all or nothing.
#[derive(Debug, Clone)]
pub struct Append {
    pub stream: StreamId,
    /// The version that the stream must stand at; [`Sequence::NONE`] for a stream without events.
    pub expected: Sequence,
    /// The counter that the first event draws an order number from.
    pub numbering: Option<Numbering>,
    /// At least one. The first one's id names the append: sending it again is recognised by it.
    pub events: Vec<NewEvent>,
}

/// One event to store.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub event_id: EventId,
    pub event_type: String,
    pub event_version: String,
    /// Kept to the byte.
    pub payload: Box<RawValue>,
    pub metadata: Metadata,
}

/// A stored append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Whether it was found stored already, by an earlier attempt to send it.
    pub already_committed: bool,
    pub shard: ShardId,
    pub slot: Slot,
    pub incarnation: Incarnation,
    /// The order number drawn by the first event.
    pub number: Option<OrderNumber>,
    /// Where each event is, in order; never empty.
    pub events: Vec<Placed>,
}

/// Where one event was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub sequence: Sequence,
    pub position: Position,
    pub slot_position: SlotPosition,
    pub recorded_at: Timestamp,
}

impl Committed {
    /// The place after which a read includes the whole append.
    pub fn token(&self) -> PositionToken {
        let slot_position = self
            .events
            .last()
            .map_or(SlotPosition::default(), |event| event.slot_position);
        PositionToken {
            slot: self.slot,
            incarnation: self.incarnation,
            slot_position,
        }
    }
}
