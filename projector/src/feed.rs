//! Where events come from: a feed that is fast, and the log that is right.
//!
//! A [`Feed`] only has to deliver events, each slot's in order. It may repeat them, skip some,
//! or lose the last one: positions show the first two, and the comparison with the slots' heads
//! the third. Whatever is missing is read from the [`Log`]. So every feed is as good as another,
//! and switching from one to another is nothing special.

use std::future::Future;

use event_store::{Error, EventStore, Position, RecordedEvent, ShardId, Slot, SlotHead, SlotPosition, Tail};

use crate::checkpoint::Checkpoint;

/// Delivers the events of some slots as they are recorded.
pub trait Feed: Send {
    /// The next events, at most `max`; waits until there are some. May be dropped while it waits;
    /// events lost by that are found missing and read from the log.
    fn next(&mut self, max: usize) -> impl Future<Output = Result<Vec<RecordedEvent>, Error>> + Send;
}

/// The log of the slots that a feed delivers.
pub trait Log: Send + Sync {
    /// Events of a slot after a position, in order, at most `limit`.
    fn read_slot(
        &self,
        slot: Slot,
        after: SlotPosition,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<RecordedEvent>, Error>> + Send;

    /// Where the slots stand.
    fn heads(&self) -> impl Future<Output = Result<Vec<SlotHead>, Error>> + Send;
}

/// One shard's part of the log.
#[derive(Debug, Clone)]
pub struct ShardLog {
    store: EventStore,
    shard: ShardId,
}

impl ShardLog {
    pub fn new(store: EventStore, shard: ShardId) -> Self {
        Self { store, shard }
    }
}

impl Log for ShardLog {
    async fn read_slot(&self, slot: Slot, after: SlotPosition, limit: usize) -> Result<Vec<RecordedEvent>, Error> {
        self.store.read_slot(slot, after, limit).await
    }

    async fn heads(&self) -> Result<Vec<SlotHead>, Error> {
        self.store.heads(self.shard).await
    }
}

/// The feed of the embedded topology: the shard's own tail.
#[derive(Debug)]
pub struct ShardTail {
    tail: Tail,
}

impl ShardTail {
    /// Opens the tail before the first event that some read model lacks. `lowest` holds the lowest
    /// checkpoint of each slot.
    ///
    /// # Errors
    /// Where the shard cannot be read.
    pub async fn open(store: &EventStore, shard: ShardId, lowest: impl Fn(Slot) -> Checkpoint) -> Result<Self, Error> {
        let mut start: Option<Position> = None;
        let heads = store.heads(shard).await?;
        for head in heads.iter().filter(|head| head.owned) {
            let read = lowest(head.slot).slot_position;
            if read >= head.slot_position {
                continue;
            }
            if let Some(first) = store.read_slot(head.slot, read, 1).await?.first() {
                let before = Position(first.position.0 - 1);
                start = Some(start.map_or(before, |start| start.min(before)));
            }
        }
        let start = match start {
            Some(start) => start,
            None => newest(store, &heads).await?,
        };
        Ok(Self {
            tail: store.tail(shard, start)?,
        })
    }
}

/// The position of the newest event there is among these slots.
async fn newest(store: &EventStore, heads: &[SlotHead]) -> Result<Position, Error> {
    let mut newest = Position(0);
    for head in heads.iter().filter(|head| head.owned && head.slot_position.0 > 0) {
        let last = store
            .read_slot(head.slot, SlotPosition(head.slot_position.0 - 1), 1)
            .await?;
        newest = last.first().map_or(newest, |event| newest.max(event.position));
    }
    Ok(newest)
}

impl Feed for ShardTail {
    async fn next(&mut self, max: usize) -> Result<Vec<RecordedEvent>, Error> {
        self.tail.next(max).await
    }
}
