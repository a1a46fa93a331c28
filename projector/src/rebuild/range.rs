//! How far a generation is, by ranges of slots.

use std::collections::HashMap;

use event_store::{Slot, SlotHead};
use serde::Serialize;

use crate::checkpoint::Checkpoint;

/// Slots in a range.
const RANGE: u16 = 64;

/// How far a generation has read some consecutive slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RangeStatus {
    pub first_slot: u16,
    pub last_slot: u16,
    /// Events read, in all of them.
    pub events: i64,
    pub lag_events: i64,
    pub slots_behind: i64,
    pub parked_streams: i64,
}

/// What is read of a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) at: Checkpoint,
    pub(super) parked: i64,
}

/// Events of the slot that the generation lacks.
pub(super) fn lag(reached: &Reached, head: &SlotHead) -> i64 {
    (head.slot_position.0 - reached.at.slot_position.0).max(0)
}

pub(super) fn ranges(reached: &HashMap<Slot, Reached>, heads: &HashMap<Slot, SlotHead>) -> Vec<RangeStatus> {
    let range = |first: u16| {
        let mut range = RangeStatus {
            first_slot: first,
            last_slot: first + RANGE - 1,
            events: 0,
            lag_events: 0,
            slots_behind: 0,
            parked_streams: 0,
        };
        for slot in (first..first + RANGE).map(Slot) {
            let Some(reached) = reached.get(&slot) else { continue };
            let lag = heads.get(&slot).map_or(0, |head| lag(reached, head));
            range.events += reached.at.slot_position.0;
            range.lag_events += lag;
            range.slots_behind += i64::from(lag > 0);
            range.parked_streams += reached.parked;
        }
        range
    };
    (0..Slot::COUNT / RANGE).map(|nth| range(nth * RANGE)).collect()
}
