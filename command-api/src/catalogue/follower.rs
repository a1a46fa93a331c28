//! Keeps the catalogue current by following each shard's log.
//!
//! Guarantee: an entry that is served from memory holds every event that its shard had committed
//! when the follower was last confirmed, and that was no longer ago than the age permitted. A
//! follower is confirmed by the shard's own slot heads: once everything that they named has passed
//! by, it was current when they were read.
//!
//! On a crash nothing is lost, for nothing is kept: a new follower starts at the end of the log and
//! entries are read through. While a shard cannot be read its follower is not confirmed, and prices
//! come from the log, or not at all. Being woken promptly is not needed for correctness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use domain::{AggregateType, Event};
use event_store::{
    Error as StoreError, EventStore, Incarnation, Ownership, Position, RecordedEvent, ShardId, Slot, SlotHead,
    SlotPosition, Tail,
};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use service::shutdown::Shutdown;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Catalogue;

/// Events taken over at a time.
const PAGE: usize = 1_000;
/// Slots looked at at a time when looking for the end of the log.
const LOOKS_AT_A_TIME: usize = 8;
/// How often a follower is confirmed within the age permitted.
const CONFIRMATIONS: u32 = 4;
/// How long a follower waits before it tries a shard again that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// When each shard's follower was last known to be current.
pub(super) struct Followed {
    max_age: Duration,
    confirmed: RwLock<BTreeMap<ShardId, Instant>>,
}

impl Followed {
    pub(super) fn new(max_age: Duration) -> Self {
        let confirmed = RwLock::default();
        Self { max_age, confirmed }
    }

    pub(super) fn is_confirmed(&self, shard: ShardId) -> bool {
        let confirmed = self.confirmed.read().unwrap_or_else(PoisonError::into_inner);
        confirmed.get(&shard).is_some_and(|at| at.elapsed() <= self.max_age)
    }

    fn confirm(&self, shard: ShardId, at: Instant) {
        let mut confirmed = self.confirmed.write().unwrap_or_else(PoisonError::into_inner);
        let known = confirmed.entry(shard).or_insert(at);
        *known = at.max(*known);
    }

    fn withdraw(&self, shard: ShardId) {
        let mut confirmed = self.confirmed.write().unwrap_or_else(PoisonError::into_inner);
        confirmed.remove(&shard);
    }
}

impl Catalogue {
    /// Starts one follower per shard, also for shards that are opened later, until `shutdown`.
    pub(crate) fn follow(&self, shutdown: &Shutdown) {
        let (catalogue, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("catalogue followers", async move {
            let mut shards = catalogue.0.store.shards_changed();
            let mut followed = BTreeSet::new();
            loop {
                let open = shards.borrow_and_update().clone();
                for shard in open.into_iter().filter(|shard| followed.insert(*shard)) {
                    catalogue.spawn_follower(shard, &stop);
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok(()) = shards.changed() => {}
                }
            }
        });
    }

    fn spawn_follower(&self, shard: ShardId, shutdown: &Shutdown) {
        let (catalogue, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn(format!("catalogue follower of shard {shard}"), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = catalogue.follow_shard(shard) => {}
            }
        });
    }

    async fn follow_shard(&self, shard: ShardId) {
        loop {
            let Err(error) = self.follow_from_the_end(shard).await;
            self.0.followed.withdraw(shard);
            tracing::warn!(
                shard.id = shard.0,
                error = &error as &dyn std::error::Error,
                "the catalogue is not followed; prices are read from the log"
            );
            sleep(PAUSE).await;
        }
    }

    async fn follow_from_the_end(&self, shard: ShardId) -> Result<std::convert::Infallible, StoreError> {
        let mut reader = Reader::at_the_end(self, shard).await?;
        // Nothing is known of what happened before; entries of this shard are read through anew.
        self.0.products.clear();
        self.0.establishments.clear();
        let mut ticks = interval(self.0.followed.max_age / CONFIRMATIONS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                events = reader.tail.next(PAGE) => {
                    for event in events? {
                        reader.passed.insert(event.slot, event.slot_position);
                        self.0.signs.show(event.slot, event.slot_position);
                        self.take_over(&event);
                    }
                }
                _ = ticks.tick() => reader.ask_for_heads(self).await?,
            }
            reader.confirm_if_current(self);
        }
    }

    fn take_over(&self, event: &RecordedEvent) {
        let (stream, sequence) = (&event.stream, event.sequence);
        if stream.kind() == AggregateType::Order {
            return;
        }
        match event.decode() {
            Ok(Event::Product(decoded)) => self.0.products.follow(stream, sequence, &decoded),
            Ok(Event::Establishment(decoded)) => self.0.establishments.follow(stream, sequence, &decoded),
            Ok(Event::Order(_)) => {}
            Err(error) => {
                // Whoever needs it reads the log and is told there.
                tracing::warn!(stream = %stream, %sequence, %error, "an event of the catalogue cannot be read");
                self.0.products.forget(stream, sequence);
                self.0.establishments.forget(stream, sequence);
            }
        }
    }
}

/// One follower's place in its shard's log.
struct Reader {
    shard: ShardId,
    tail: Tail,
    /// How far each slot has passed by.
    passed: BTreeMap<Slot, SlotPosition>,
    /// The slots that the shard owned when this reader began, with their incarnations and ownership.
    /// When they change, what passed by is no longer the whole story; a slot that went and came back
    /// between two looks has a higher ownership.
    owned: BTreeMap<Slot, (Incarnation, Ownership)>,
    /// Heads as they stood at a moment; current as of then, once all have passed by.
    asked: Option<(Instant, Vec<SlotHead>)>,
}

impl Reader {
    /// Whatever is appended after the heads were read lies behind the last event that they name:
    /// positions follow commit order.
    async fn at_the_end(catalogue: &Catalogue, shard: ShardId) -> Result<Self, StoreError> {
        let store = &catalogue.0.store;
        let heads = owned_heads(store.heads(shard).await?);
        let mut looks = Vec::new();
        for head in &heads {
            if head.slot_position > SlotPosition::default() {
                looks.push(last_position(store.clone(), *head));
            }
        }
        let ends: Vec<Position> = stream::iter(looks)
            .buffer_unordered(LOOKS_AT_A_TIME)
            .try_collect()
            .await?;
        let end = ends.into_iter().max().unwrap_or_default();
        Ok(Self {
            shard,
            tail: store.tail(shard, end)?,
            passed: heads.iter().map(|head| (head.slot, head.slot_position)).collect(),
            owned: ownership(&heads),
            asked: None,
        })
    }

    async fn ask_for_heads(&mut self, catalogue: &Catalogue) -> Result<(), StoreError> {
        if self.asked.is_some() {
            return Ok(());
        }
        let at = Instant::now();
        let heads = owned_heads(catalogue.0.store.heads(self.shard).await?);
        if ownership(&heads) != self.owned {
            let reason = "the slots of the shard changed hands";
            return Err(StoreError::Unavailable { reason, source: None });
        }
        self.asked = Some((at, heads));
        Ok(())
    }

    fn confirm_if_current(&mut self, catalogue: &Catalogue) {
        let passed = |head: &SlotHead| {
            self.passed
                .get(&head.slot)
                .is_some_and(|passed| *passed >= head.slot_position)
        };
        if let Some((at, heads)) = &self.asked
            && heads.iter().all(passed)
        {
            catalogue.0.followed.confirm(self.shard, *at);
            self.asked = None;
        }
    }
}

/// Where in the shard the last event of a slot lies.
async fn last_position(store: EventStore, head: SlotHead) -> Result<Position, StoreError> {
    let before = SlotPosition(head.slot_position.0 - 1);
    let last = store.read_slot(head.slot, before, 1).await?;
    Ok(last.last().map_or(Position::default(), |event| event.position))
}

fn owned_heads(heads: Vec<SlotHead>) -> Vec<SlotHead> {
    heads.into_iter().filter(|head| head.owned).collect()
}

fn ownership(heads: &[SlotHead]) -> BTreeMap<Slot, (Incarnation, Ownership)> {
    let held = |head: &SlotHead| (head.slot, (head.incarnation, head.ownership));
    heads.iter().map(held).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    #[test]
    fn given_no_confirmation_then_the_log_is_read() {
        let followed = Followed::new(Duration::from_secs(1));
        assert!(!followed.is_confirmed(SHARD));
    }

    #[test]
    fn given_a_confirmation_when_it_has_aged_then_the_log_is_read() {
        let followed = Followed::new(Duration::from_secs(60));
        followed.confirm(SHARD, Instant::now());
        assert!(followed.is_confirmed(SHARD));
        assert!(!followed.is_confirmed(ShardId(7)));
        let strict = Followed {
            max_age: Duration::ZERO,
            ..followed
        };
        assert!(!strict.is_confirmed(SHARD));
    }

    #[test]
    fn given_an_older_confirmation_then_the_later_one_stands() {
        let (followed, earlier) = (Followed::new(Duration::from_secs(60)), Instant::now());
        let later = earlier + Duration::from_millis(1);
        followed.confirm(SHARD, later);
        followed.confirm(SHARD, earlier);
        let kept = followed.confirmed.read().unwrap().get(&SHARD).copied();
        assert_eq!(kept, Some(later));
        followed.withdraw(SHARD);
        assert!(!followed.is_confirmed(SHARD));
    }
}
