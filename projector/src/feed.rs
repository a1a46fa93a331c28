//! Where events come from: a feed that is fast, and the log that is right.
//!
//! A [`Feed`] only has to deliver events, each slot's in order. It may repeat them, skip some,
//! or lose the last one: positions show the first two, and the comparison with the slots' heads
//! the third. Whatever is missing is read from the [`Log`]. So every feed is as good as another,
//! and switching from one to another is nothing special.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;

use event_store::{EventStore, Incarnation, Position, RecordedEvent, ShardId, Slot, SlotHead, SlotPosition, Tail};

use crate::checkpoint::Checkpoint;
use crate::error::Error;

/// What a feed brings.
#[derive(Debug)]
pub enum Delivery {
    Events(Vec<RecordedEvent>),
    /// Slots that were given to this feed, and slots that were taken from it: others may have
    /// written of them, or will.
    Moved {
        gained: Vec<Slot>,
        lost: Vec<Slot>,
    },
}

/// A place in a partition of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    /// The first record that the partition still had.
    pub low: i64,
    /// Where the partition ended.
    pub end: i64,
    /// Where a reader began that was given nothing of the partition yet.
    pub start: i64,
}

/// When a checkpoint that does not reach a head proves a loss, and is not mere lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostWhen {
    /// It has not moved from one look at the heads to the next.
    StandsStill,
    /// The feed has passed the place where everything up to this position is.
    Passed { upto: SlotPosition, place: Place },
    /// Nothing can be said yet.
    Unknown,
}

/// A slot's head as it was looked at.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: SlotHead,
    pub lost_when: LostWhen,
    /// Later incarnations of the slot, as far as is known: each, and the last position that it has
    /// in common with the one before.
    pub branches: Vec<(Incarnation, SlotPosition)>,
}

/// Delivers the events of some slots as they are recorded.
pub trait Feed: Send {
    /// What comes next, about `max` events at most; waits until there is something. May be dropped
    /// while it waits; events lost by that are found missing and read from the log.
    fn next(&mut self, max: usize) -> impl Future<Output = Result<Delivery, Error>> + Send;

    /// What was delivered last is done with.
    fn applied(&mut self) {}

    /// Whether the slot is one of this feed's.
    fn delivers(&self, _slot: Slot) -> bool {
        true
    }

    /// The log began anew behind some position: what comes may lie before where this feed reads.
    /// `lowest` says from where on each slot's events are needed.
    fn begin_again(&mut self, _lowest: BTreeMap<Slot, SlotPosition>) {}

    /// Whether everything before the place was delivered.
    fn has_passed(&self, _place: &Place) -> bool {
        false
    }
}

/// The log of the slots that a feed delivers. Its parts fail one by one.
pub trait Log: Send + Sync + 'static {
    fn parts(&self) -> Vec<ShardId>;

    /// The part that holds the slot's events; `None` where that is not known just now.
    fn part_of(&self, slot: Slot) -> Option<ShardId>;

    /// Events of a slot after a position, in order, at most `limit`.
    fn read_slot(
        &self,
        slot: Slot,
        after: SlotPosition,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<RecordedEvent>, Error>> + Send;

    /// Where a part's slots stand.
    fn look(&self, part: ShardId) -> impl Future<Output = Result<Vec<Seen>, Error>> + Send;
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
    fn parts(&self) -> Vec<ShardId> {
        vec![self.shard]
    }

    fn part_of(&self, _slot: Slot) -> Option<ShardId> {
        Some(self.shard)
    }

    async fn read_slot(&self, slot: Slot, after: SlotPosition, limit: usize) -> Result<Vec<RecordedEvent>, Error> {
        Ok(self.store.read_slot(slot, after, limit).await?)
    }

    async fn look(&self, part: ShardId) -> Result<Vec<Seen>, Error> {
        let heads = self.store.heads(part).await?;
        let mut branches = branches(&self.store, part).await?;
        let seen = |head: SlotHead| Seen {
            head,
            lost_when: LostWhen::StandsStill,
            branches: branches.remove(&head.slot).unwrap_or_default(),
        };
        Ok(heads.into_iter().map(seen).collect())
    }
}

/// Where the later incarnations of a shard's slots began. To be read after the heads.
pub(crate) async fn branches(store: &EventStore, shard: ShardId) -> Result<Branches, Error> {
    let mut branches = Branches::new();
    for branch in store.branches(shard).await? {
        let began = (branch.incarnation, branch.behind);
        branches.entry(branch.slot).or_default().push(began);
    }
    Ok(branches)
}

pub(crate) type Branches = HashMap<Slot, Vec<(Incarnation, SlotPosition)>>;

/// The feed of the embedded topology: the shard's own tail.
#[derive(Debug)]
pub struct ShardTail {
    store: EventStore,
    shard: ShardId,
    tail: Tail,
    /// To be opened again, from here.
    again: Option<BTreeMap<Slot, SlotPosition>>,
}

impl ShardTail {
    /// Opens the tail before the first event that some read model lacks. `lowest` holds the lowest
    /// checkpoint of each slot.
    ///
    /// # Errors
    /// Where the shard cannot be read.
    pub async fn open(store: &EventStore, shard: ShardId, lowest: impl Fn(Slot) -> Checkpoint) -> Result<Self, Error> {
        Ok(Self {
            store: store.clone(),
            shard,
            tail: tail(store, shard, |slot| lowest(slot).slot_position).await?,
            again: None,
        })
    }
}

async fn tail(store: &EventStore, shard: ShardId, lowest: impl Fn(Slot) -> SlotPosition) -> Result<Tail, Error> {
    let mut start: Option<Position> = None;
    let heads = store.heads(shard).await?;
    for head in heads.iter().filter(|head| head.owned) {
        let read = lowest(head.slot);
        if read >= head.slot_position {
            continue;
        }
        if let Some(first) = store.read_slot(head.slot, read, 1).await?.first()
            && is_here(store, shard, head.slot)
        {
            let before = Position(first.position.0 - 1);
            start = Some(start.map_or(before, |start| start.min(before)));
        }
    }
    let start = match start {
        Some(start) => start,
        None => newest(store, shard, &heads).await?,
    };
    Ok(store.tail(shard, start)?)
}

/// The position of the newest event there is among these slots.
async fn newest(store: &EventStore, shard: ShardId, heads: &[SlotHead]) -> Result<Position, Error> {
    let mut newest = Position(0);
    for head in heads.iter().filter(|head| head.owned && head.slot_position.0 > 0) {
        let last = store
            .read_slot(head.slot, SlotPosition(head.slot_position.0 - 1), 1)
            .await?;
        if let Some(event) = last.first().filter(|_| is_here(store, shard, head.slot)) {
            newest = newest.max(event.position);
        }
    }
    Ok(newest)
}

/// Whether the slot's events were read from this shard: not where it moved away meanwhile, and then
/// their positions are another shard's.
fn is_here(store: &EventStore, shard: ShardId, slot: Slot) -> bool {
    store.shard_of(slot).is_ok_and(|owner| owner == shard)
}

impl Feed for ShardTail {
    async fn next(&mut self, max: usize) -> Result<Delivery, Error> {
        if let Some(lowest) = &self.again {
            let from = |slot: Slot| lowest.get(&slot).copied().unwrap_or_default();
            self.tail = tail(&self.store, self.shard, from).await?;
            self.again = None;
        }
        Ok(Delivery::Events(self.tail.next(max).await?))
    }

    fn begin_again(&mut self, lowest: BTreeMap<Slot, SlotPosition>) {
        self.again = Some(lowest);
    }
}
