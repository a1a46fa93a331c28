//! Following all shards at once, from a cursor that says how far each slot was read.
//!
//! Guarantee: every event behind the cursor, each once, in order within its slot; shards that are
//! opened meanwhile are followed too. A slot that moved is read on at its new owner: an event that
//! comes too far is not delivered before what lies between was read from the slot itself, and when a
//! shard's tail has passed a point where a slot's head was already higher than what was delivered
//! of it, the rest is read likewise.
//!
//! On a crash the reader starts again from the cursor that it last kept. A shard that cannot be read
//! is reported and tried again, and the others go on: whatever is asked of a shard is asked by a task
//! of its own, and [`Follow::next`] waits for their answers only.

mod ask;
mod cursor;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::ask::refuse_what_was_lost;
use self::ask::{Found, Heads, PAGE, PAUSE_AFTER_FAILURE, Reader, heads, in_time, look};
pub use self::cursor::Cursor;
use crate::error::Error;
use crate::ids::{Position, ShardId, Slot, SlotPosition};
use crate::read::filter::LogFilter;
use crate::record::RecordedEvent;
use crate::store::EventStore;
use crate::token::PositionToken;

const PAGES_AHEAD: usize = 8;
const COMPARE_EVERY: Duration = Duration::from_secs(2);
/// Slots that are read by themselves at the same time.
const SLOTS_AT_ONCE: usize = 4;

/// A slot that is read by itself until it has caught up.
#[derive(Debug)]
struct Behind {
    /// When it is to be read next.
    due: Instant,
    reading: bool,
    /// The last event of it that came by the tail since that began.
    seen: SlotPosition,
}

impl Behind {
    fn now() -> Self {
        Self {
            due: Instant::now(),
            reading: false,
            seen: SlotPosition::default(),
        }
    }
}

/// A reader of all shards. Dropping a pending [`Follow::next`] loses nothing.
#[derive(Debug)]
pub struct Follow {
    store: EventStore,
    filter: LogFilter,
    /// Up to what was returned.
    cursor: Cursor,
    /// Up to what lies in `ready`.
    reached: Cursor,
    ready: VecDeque<RecordedEvent>,
    behind: BTreeMap<Slot, Behind>,
    shards: watch::Receiver<Vec<ShardId>>,
    tasks: JoinSet<()>,
    started: BTreeSet<ShardId>,
    /// Shards whose heads are being looked at.
    looking: BTreeSet<ShardId>,
    found: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
    passed: HashMap<ShardId, Position>,
    /// As of the last comparison.
    heads: HashMap<ShardId, Heads>,
    compare_at: Instant,
}

impl EventStore {
    /// Follows all shards behind `cursor`.
    pub fn follow(&self, filter: LogFilter, cursor: Cursor) -> Follow {
        Follow {
            behind: filter
                .single_slot()
                .into_iter()
                .map(|slot| (slot, Behind::now()))
                .collect(),
            filter,
            reached: cursor.clone(),
            cursor,
            ready: VecDeque::new(),
            shards: self.shards_changed(),
            tasks: JoinSet::new(),
            started: BTreeSet::new(),
            looking: BTreeSet::new(),
            found: mpsc::channel(PAGES_AHEAD),
            passed: HashMap::new(),
            heads: HashMap::new(),
            compare_at: Instant::now() + COMPARE_EVERY,
            store: self.clone(),
        }
    }

    /// Where all slots stand now: following from here returns only what comes.
    ///
    /// # Errors
    /// [`Error`]; every shard must be readable.
    pub async fn cursor_at_heads(&self) -> Result<Cursor, Error> {
        let mut cursor = Cursor::default();
        for shard in self.shards() {
            let (_, heads) = heads(self, shard).await?;
            // A slot on the move may have two, of which one is its end.
            let further = |head: &PositionToken| head.slot_position >= cursor.position(head.slot);
            let further: Vec<PositionToken> = heads.into_iter().filter(further).collect();
            further.into_iter().for_each(|head| cursor.set(head));
        }
        Ok(cursor)
    }
}

impl Follow {
    /// Where to go on after what was returned so far.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// The next events, at least one and at most `max`; waits until there are some.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where a shard cannot be read, once for each time that it was tried: call
    /// again, nothing is lost.
    /// [`Error::Misconfigured`] where the cursor holds positions that the log lost in a restoration.
    pub async fn next(&mut self, max: usize) -> Result<Vec<RecordedEvent>, Error> {
        loop {
            let events = self.take(max.max(1));
            if !events.is_empty() {
                return Ok(events);
            }
            self.start_readers();
            let due = self.read_behind();
            tokio::select! {
                found = self.found.1.recv() => if let Some(found) = found { self.accept(found)? },
                Ok(()) = self.shards.changed() => {}
                () = sleep_until(due.unwrap_or(self.compare_at)), if due.is_some() => {}
                () = sleep_until(self.compare_at) => self.compare(),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// What is ready and matches. What does not match is passed over, in its turn.
    fn take(&mut self, max: usize) -> Vec<RecordedEvent> {
        let mut events = Vec::new();
        while events.len() < max
            && let Some(event) = self.ready.pop_front()
        {
            self.cursor.set(event.token());
            if self.filter.admits(&event) {
                events.push(event);
            }
        }
        events
    }

    fn start_readers(&mut self) {
        let shards = self.shards.borrow_and_update().clone();
        for shard in shards {
            if self.filter.wants_shard(shard) && self.started.insert(shard) {
                let reader = Reader {
                    store: self.store.clone(),
                    shard,
                    filter: self.filter.clone(),
                    reached: self.reached.clone(),
                };
                self.tasks.spawn(reader.run(self.found.0.clone()));
            }
        }
    }

    /// Begins to read pages of slots by themselves, those first that have waited longest. Returns when
    /// there is another one to be read.
    fn read_behind(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while self.behind.values().filter(|it| it.reading).count() < SLOTS_AT_ONCE {
            let waiting = self.behind.iter_mut().filter(|(_, it)| !it.reading);
            let (slot, behind) = waiting.min_by_key(|(_, it)| it.due)?;
            if behind.due > now {
                return Some(behind.due);
            }
            (behind.reading, behind.seen) = (true, SlotPosition::default());
            let (slot, after) = (*slot, self.reached.position(*slot));
            let (store, found) = (self.store.clone(), self.found.0.clone());
            self.tasks.spawn(async move {
                let events = in_time(store.read_slot(slot, after, PAGE)).await;
                // Nobody follows any more.
                drop(found.send(Found::Slot { slot, events }).await);
            });
        }
        None
    }

    fn accept(&mut self, found: Found) -> Result<(), Error> {
        match found {
            Found::Page { shard, events, passed } => {
                self.passed.insert(shard, passed);
                events.into_iter().for_each(|event| self.accept_event(event));
                Ok(())
            }
            Found::Failed(error) => Err(error),
            Found::Slot { slot, events } => self.accept_slot(slot, events),
            Found::Heads { shard, heads } => {
                self.looking.remove(&shard);
                self.heads.insert(shard, heads?);
                Ok(())
            }
        }
    }

    fn accept_event(&mut self, event: RecordedEvent) {
        let wanted = self.filter.wants_slot(event.slot);
        let reached = self.reached.position(event.slot);
        if !wanted || event.slot_position <= reached {
            return;
        }
        // What is behind is read from the slot, this event included.
        if let Some(behind) = self.behind.get_mut(&event.slot) {
            behind.seen = behind.seen.max(event.slot_position);
        } else if event.slot_position.0 == reached.0 + 1 {
            self.reached.set(event.token());
            self.ready.push_back(event);
        } else {
            self.behind.insert(event.slot, Behind::now());
        }
    }

    /// A page of a slot by itself. An empty one is the end, unless the tail brought more since it was
    /// asked for.
    fn accept_slot(&mut self, slot: Slot, events: Result<Vec<RecordedEvent>, Error>) -> Result<(), Error> {
        let Some(behind) = self.behind.get_mut(&slot) else {
            return Ok(());
        };
        (behind.reading, behind.due) = (false, Instant::now());
        let events = events.inspect_err(|_| behind.due += PAUSE_AFTER_FAILURE)?;
        if events.is_empty() && behind.seen <= self.reached.position(slot) {
            self.behind.remove(&slot);
        }
        for event in events {
            self.reached.set(event.token());
            self.ready.push_back(event);
        }
        Ok(())
    }

    /// Looks for slots whose head of last time was not delivered though the tail has passed it, and
    /// has the heads looked at again.
    fn compare(&mut self) {
        self.compare_at = Instant::now() + COMPARE_EVERY;
        for shard in self.started.clone() {
            let passed = self.passed.get(&shard).copied().unwrap_or_default();
            if let Some((position, heads)) = self.heads.get(&shard) {
                if passed < *position {
                    continue;
                }
                let missed = heads.iter().filter(|head| {
                    head.slot_position > self.reached.position(head.slot) && self.filter.wants_slot(head.slot)
                });
                for head in missed {
                    self.behind.entry(head.slot).or_insert_with(Behind::now);
                }
            }
            if self.looking.insert(shard) {
                let (store, reached, found) = (self.store.clone(), self.reached.clone(), self.found.0.clone());
                self.tasks.spawn(async move {
                    let heads = in_time(look(&store, shard, &reached)).await;
                    drop(found.send(Found::Heads { shard, heads }).await);
                });
            }
        }
    }
}
