//! Following all shards at once, from a cursor that says how far each slot was read.
//!
//! Guarantee: every event behind the cursor, each once, in order within its slot; shards that are
//! opened meanwhile are followed too. A slot that moved is read on at its new owner: an event that
//! comes too far is not delivered before what lies between was read from the slot itself, and when a
//! shard's tail has passed a point where a slot's head was already higher than what was delivered
//! of it, the rest is read likewise.
//!
//! On a crash the reader starts again from the cursor that it last kept. A shard that cannot be read
//! is reported and tried again, and the others go on.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use domain::{EventType, StreamId, TenantId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::Error;
use crate::ids::{Incarnation, Position, ShardId, Slot, SlotPosition};
use crate::record::RecordedEvent;
use crate::store::EventStore;
use crate::tail::Tail;
use crate::token::{PositionToken, TokenError};

const PAGE: usize = 500;
const PAGES_AHEAD: usize = 8;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// How far each slot was read; a slot that it lacks was not read at all. Written as position tokens
/// with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<Slot, (Incarnation, SlotPosition)>);

impl Cursor {
    /// How far a slot was read.
    pub fn position(&self, slot: Slot) -> SlotPosition {
        self.0.get(&slot).map_or(SlotPosition(0), |(_, position)| *position)
    }

    pub fn tokens(&self) -> impl Iterator<Item = PositionToken> + '_ {
        self.0.iter().map(|(slot, (incarnation, slot_position))| PositionToken {
            slot: *slot,
            incarnation: *incarnation,
            slot_position: *slot_position,
        })
    }

    fn set(&mut self, token: PositionToken) {
        self.0.insert(token.slot, (token.incarnation, token.slot_position));
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.tokens().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{token}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut cursor = Self::default();
        for token in text.split(',').filter(|_| !text.is_empty()) {
            cursor.set(token.parse()?);
        }
        Ok(cursor)
    }
}

/// Which events to return. The default is all.
#[derive(Debug, Clone, Default)]
pub struct FollowFilter {
    pub tenant: Option<TenantId>,
    pub stream: Option<StreamId>,
    /// Any of these types; all where empty.
    pub types: Vec<EventType>,
}

impl FollowFilter {
    fn slot(&self) -> Option<Slot> {
        let tenant = self.tenant.as_ref().or(self.stream.as_ref().map(StreamId::tenant));
        tenant.map(Slot::of)
    }

    fn admits(&self, event: &RecordedEvent) -> bool {
        self.tenant
            .as_ref()
            .is_none_or(|tenant| tenant == event.stream.tenant())
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && (self.types.is_empty() || self.types.iter().any(|kind| kind.as_str() == event.event_type))
    }
}

/// A page, or why there is none.
type Found = Result<Page, Error>;

/// What a shard's reader found.
struct Page {
    shard: ShardId,
    events: Vec<RecordedEvent>,
    /// The tail has passed everything up to here.
    passed: Position,
}

/// A reader of all shards. Dropping a pending [`Follow::next`] loses nothing.
#[derive(Debug)]
pub struct Follow {
    store: EventStore,
    filter: FollowFilter,
    /// Up to what was returned.
    cursor: Cursor,
    /// Up to what lies in `ready`.
    reached: Cursor,
    ready: VecDeque<RecordedEvent>,
    /// Slots to be read by themselves until they have caught up.
    behind: BTreeSet<Slot>,
    shards: watch::Receiver<Vec<ShardId>>,
    readers: JoinSet<()>,
    started: BTreeSet<ShardId>,
    pages: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
    passed: HashMap<ShardId, Position>,
    /// Each shard's position at the last comparison, and its slots' heads then.
    heads: HashMap<ShardId, (Position, Vec<PositionToken>)>,
    compare_at: Instant,
}

impl EventStore {
    /// Follows all shards behind `cursor`.
    pub fn follow(&self, filter: FollowFilter, cursor: Cursor) -> Follow {
        Follow {
            behind: filter.slot().into_iter().collect(),
            filter,
            reached: cursor.clone(),
            cursor,
            ready: VecDeque::new(),
            shards: self.shards_changed(),
            readers: JoinSet::new(),
            started: BTreeSet::new(),
            pages: mpsc::channel(PAGES_AHEAD),
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
            heads.into_iter().for_each(|head| cursor.set(head));
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
    /// [`Error::Unavailable`] where a shard cannot be read: call again, nothing is lost.
    /// [`Error::Misconfigured`] where the cursor holds positions that the log lost in a restoration.
    pub async fn next(&mut self, max: usize) -> Result<Vec<RecordedEvent>, Error> {
        loop {
            let events = self.take(max.max(1));
            if !events.is_empty() {
                return Ok(events);
            }
            self.start_readers().await?;
            if let Some(slot) = self.behind.first().copied() {
                self.read_on(slot).await?;
                continue;
            }
            tokio::select! {
                page = self.pages.1.recv() => if let Some(page) = page { self.accept(page?) },
                Ok(()) = self.shards.changed() => {}
                () = sleep_until(self.compare_at) => self.compare().await?,
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

    async fn start_readers(&mut self) -> Result<(), Error> {
        let shards = self.shards.borrow_and_update().clone();
        for shard in shards {
            if self.started.contains(&shard) {
                continue;
            }
            self.refuse_what_was_lost(shard).await?;
            let after = self.start_of(shard).await?;
            let tail = self.store.tail(shard, after)?;
            self.readers.spawn(read(shard, tail, self.pages.0.clone()));
            self.started.insert(shard);
        }
        Ok(())
    }

    async fn refuse_what_was_lost(&self, shard: ShardId) -> Result<(), Error> {
        let tokens: Vec<PositionToken> = self.reached.tokens().collect();
        let ahead = self.store.history(shard).await?.ahead(&tokens);
        ahead.first().map_or(Ok(()), |ahead| {
            Err(Error::Misconfigured(format!(
                "position {} was lost when its shard was restored or promoted: go on from slot position {}",
                ahead.known, ahead.agreed
            )))
        })
    }

    /// In front of the first event of the shard that lies behind the cursor. For one slot alone its
    /// past is read from the slot, and the tail serves what comes.
    async fn start_of(&self, shard: ShardId) -> Result<Position, Error> {
        let (slots, positions): (Vec<i16>, Vec<i64>) = match self.filter.slot() {
            Some(_) => Default::default(),
            None => Slot::all()
                .map(|slot| (slot.as_i16(), self.reached.position(slot).0 + 1))
                .unzip(),
        };
        let position = sqlx::query_scalar(
            "SELECT coalesce((SELECT min(e.position) - 1 \
                                FROM unnest($1::smallint[], $2::bigint[]) AS c (slot, slot_position) \
                                JOIN events e ON e.slot = c.slot AND e.slot_position = c.slot_position), \
                             (SELECT position FROM shard))",
        )
        .bind(slots)
        .bind(positions)
        .fetch_one(&self.store.shard(shard)?.pool)
        .await
        .map_err(Error::read)?;
        Ok(Position(position))
    }

    fn accept(&mut self, page: Page) {
        self.passed.insert(page.shard, page.passed);
        for event in page.events {
            self.accept_event(event);
        }
    }

    fn accept_event(&mut self, event: RecordedEvent) {
        let wanted = self.filter.slot().is_none_or(|slot| slot == event.slot);
        let reached = self.reached.position(event.slot);
        // What is behind is read from the slot, this event included.
        if !wanted || event.slot_position <= reached || self.behind.contains(&event.slot) {
            return;
        }
        if event.slot_position.0 == reached.0 + 1 {
            self.reached.set(event.token());
            self.ready.push_back(event);
        } else {
            self.behind.insert(event.slot);
        }
    }

    /// A page of a slot by itself. An empty one is the end: whatever was committed by now and came
    /// by the tail before is in it.
    async fn read_on(&mut self, slot: Slot) -> Result<(), Error> {
        let events = self.store.read_slot(slot, self.reached.position(slot), PAGE).await?;
        if events.is_empty() {
            self.behind.remove(&slot);
        }
        for event in events {
            self.reached.set(event.token());
            self.ready.push_back(event);
        }
        Ok(())
    }

    /// Looks for slots whose head of last time was not delivered though the tail has passed it.
    async fn compare(&mut self) -> Result<(), Error> {
        self.compare_at = Instant::now() + COMPARE_EVERY;
        for shard in self.started.clone() {
            let passed = self.passed.get(&shard).copied().unwrap_or_default();
            if let Some((position, heads)) = self.heads.get(&shard) {
                if passed < *position {
                    continue;
                }
                let missed = heads.iter().filter(|head| {
                    head.slot_position > self.reached.position(head.slot)
                        && self.filter.slot().is_none_or(|slot| slot == head.slot)
                });
                self.behind.extend(missed.map(|head| head.slot));
            }
            let found = heads(&self.store, shard).await?;
            self.heads.insert(shard, found);
            self.refuse_what_was_lost(shard).await?;
        }
        Ok(())
    }
}

/// A shard's position and the heads of the slots that it owns, as of one moment.
async fn heads(store: &EventStore, shard: ShardId) -> Result<(Position, Vec<PositionToken>), Error> {
    let rows: Vec<(i64, i16, i32, i64)> =
        sqlx::query_as("SELECT h.position, s.slot, s.incarnation, s.slot_position FROM shard h, slots s WHERE s.owned")
            .fetch_all(&store.shard(shard)?.pool)
            .await
            .map_err(Error::read)?;
    let position = Position(rows.first().map_or(0, |row| row.0));
    let token = |(_, slot, incarnation, slot_position)| {
        Some(PositionToken {
            slot: Slot::from_i16(slot)?,
            incarnation: Incarnation(incarnation),
            slot_position: SlotPosition(slot_position),
        })
    };
    Ok((position, rows.into_iter().filter_map(token).collect()))
}

/// One shard's tail, a few pages ahead of the follower; ends with it.
async fn read(shard: ShardId, mut tail: Tail, pages: mpsc::Sender<Found>) {
    let mut told = None;
    loop {
        let found = tail.poll(PAGE).await;
        let failed = found.is_err();
        let passed = tail.position();
        let page = match found {
            Ok(events) if events.is_empty() && told == Some(passed) => continue,
            found => found.map(|events| Page { shard, events, passed }),
        };
        told = Some(passed);
        if pages.send(page).await.is_err() {
            return;
        }
        if failed {
            sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}
