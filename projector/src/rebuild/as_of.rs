//! Positions that have passed.
//!
//! A position of the whole log is a vector, one position a slot: there is no order of events across
//! slots. A time means, in each slot, the last event recorded by then; times never go back within a
//! slot, so it is found by halving.

use std::collections::BTreeMap;

use domain::Timestamp;
use event_store::{Cursor, EventStore, Ownership, PositionToken, Slot, SlotHead, SlotPosition};
use futures::{StreamExt, TryStreamExt, stream};

use crate::error::Error;

/// Slots searched at the same time.
const AT_ONCE: usize = 8;

/// Where each slot stood at a time, by the times at which events were recorded; the slots of every
/// shard. Shards whose clocks differ are each right by their own.
///
/// # Errors
/// [`Error::Log`] where a shard cannot be read, or none owns a slot just now: try again.
pub async fn cursor_at(store: &EventStore, time: Timestamp) -> Result<Cursor, Error> {
    // A slot that is shut for a move is owned by nobody: it is searched too, which fails, rather than
    // left out.
    let mut heads: BTreeMap<Slot, SlotHead> = BTreeMap::new();
    for shard in store.shards() {
        let heads_here = store.heads(shard).await?;
        for head in heads_here.into_iter().filter(|head| head.slot_position.0 > 0) {
            let best = heads.entry(head.slot).or_insert(head);
            if rank(&head) > rank(best) {
                *best = head;
            }
        }
    }
    let found: Vec<Option<PositionToken>> = stream::iter(heads.into_values())
        .map(|head| slot_at(store, head, time))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let mut tokens: Vec<PositionToken> = found.into_iter().flatten().collect();
    tokens.sort_by_key(|token| token.slot);
    let written: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    written.join(",").parse().map_err(Error::Cursor)
}

/// Of a slot's heads on several shards the owner's comes first, else the latest owner's.
fn rank(head: &SlotHead) -> (bool, Ownership, SlotPosition) {
    (head.owned, head.ownership, head.slot_position)
}

/// The slot's last event recorded at or before the time.
async fn slot_at(store: &EventStore, head: SlotHead, time: Timestamp) -> Result<Option<PositionToken>, Error> {
    // The event at `low` was recorded by then, the one at `high` was not.
    let (mut low, mut high) = (0, head.slot_position.0 + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let event = store.read_slot(head.slot, SlotPosition(middle - 1), 1).await?;
        match event.first() {
            Some(event) if event.recorded_at <= time => low = middle,
            _ => high = middle,
        }
    }
    Ok((low > 0).then_some(PositionToken {
        slot: head.slot,
        incarnation: head.incarnation,
        slot_position: SlotPosition(low),
    }))
}

/// Whether the log has come that far, in every slot.
pub(super) async fn check(store: &EventStore, cursor: &Cursor) -> Result<(), Error> {
    let mut missing: Vec<PositionToken> = cursor.tokens().collect();
    for shard in store.shards() {
        let history = store.history(shard).await?;
        missing.retain(|token| {
            let agreed = history.agreed(*token);
            agreed.is_none_or(|agreed| token.slot_position > agreed)
        });
    }
    match missing.first() {
        Some(token) => Err(Error::NotInLog(*token)),
        None => Ok(()),
    }
}
