//! What of a shard's log Kafka has acknowledged, without a hole.
//!
//! Acknowledgements of different partitions come in any order; the cursor may only pass a record
//! when it and everything before it has arrived.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::Timestamp;
use event_store::Position;
use tokio::sync::Notify;

use crate::error::Error;
use crate::settling::Proven;

/// Names a record between sending and acknowledgement.
pub(crate) type Ticket = usize;

#[derive(Debug)]
struct Entry {
    position: Position,
    recorded_at: Timestamp,
    done: bool,
}

/// Records in the order of the log, and how far they are done without a hole.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// The ticket of the first entry.
    first: Ticket,
    entries: VecDeque<Entry>,
    open: usize,
    reached: Position,
}

impl Prefix {
    pub(crate) fn new(after: Position) -> Self {
        Self {
            first: 0,
            entries: VecDeque::new(),
            open: 0,
            reached: after,
        }
    }

    /// A record is being sent. Called in the order of the log.
    pub(crate) fn begin(&mut self, position: Position, recorded_at: Timestamp) -> Ticket {
        self.entries.push_back(Entry {
            position,
            recorded_at,
            done: false,
        });
        self.open += 1;
        self.first + self.entries.len() - 1
    }

    /// The record begun last was not sent after all.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) {
        if ticket + 1 == self.first + self.entries.len() && self.entries.pop_back().is_some_and(|entry| !entry.done) {
            self.open -= 1;
        }
    }

    /// Up to here there is nothing more to send.
    pub(crate) fn pass(&mut self, position: Position) {
        match self.entries.back() {
            // Nothing is under way.
            None => self.reached = self.reached.max(position),
            Some(last) if last.position < position => {
                let recorded_at = last.recorded_at;
                self.entries.push_back(Entry {
                    position,
                    recorded_at,
                    done: true,
                });
            }
            Some(_) => {}
        }
    }

    /// The record is in Kafka. Returns when the log recorded it; `None` where that was known before.
    pub(crate) fn done(&mut self, ticket: Ticket) -> Option<Timestamp> {
        let entry = self.entries.get_mut(ticket.checked_sub(self.first)?)?;
        if std::mem::replace(&mut entry.done, true) {
            return None;
        }
        let recorded_at = entry.recorded_at;
        self.open -= 1;
        while self.entries.front().is_some_and(|entry| entry.done) {
            if let Some(entry) = self.entries.pop_front() {
                self.first += 1;
                self.reached = entry.position;
            }
        }
        Some(recorded_at)
    }

    /// Everything up to here is done.
    pub(crate) fn reached(&self) -> Position {
        self.reached
    }

    /// How many records are under way.
    pub(crate) fn open(&self) -> usize {
        self.open
    }
}

/// A [`Prefix`] between the task that sends and the thread that hears the acknowledgements.
#[derive(Debug)]
pub(crate) struct Tracker {
    topic: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    prefix: Prefix,
    /// One past the last acknowledged offset, per partition; 0 where none is known.
    ends: Vec<i64>,
    acknowledged: u64,
    /// The last sign of life from Kafka while something was under way.
    heard: Instant,
    failure: Option<Error>,
}

impl Tracker {
    /// `ends` are what was acknowledged before, per partition.
    pub(crate) fn new(topic: &str, after: Position, ends: Vec<i64>) -> Self {
        let prefix = Prefix::new(after);
        let state = State {
            prefix,
            ends,
            acknowledged: 0,
            heard: Instant::now(),
            failure: None,
        };
        Self {
            topic: topic.to_owned(),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    pub(crate) fn begin(&self, position: Position, recorded_at: Timestamp) -> Ticket {
        let mut state = self.state();
        if state.prefix.open() == 0 {
            state.heard = Instant::now();
        }
        state.prefix.begin(position, recorded_at)
    }

    pub(crate) fn withdraw(&self, ticket: Ticket) {
        self.state().prefix.withdraw(ticket);
    }

    pub(crate) fn pass(&self, position: Position) {
        self.state().prefix.pass(position);
    }

    /// Kafka has the record, at `offset` (negative where it does not say, as for one that it found
    /// it had already). Returns when the log recorded it.
    ///
    /// Offsets of a partition only grow, so one that was given out before shows that the partition
    /// is not the one it was: then nothing that was acknowledged there can be relied on.
    pub(crate) fn acknowledge(&self, ticket: Ticket, partition: i32, offset: i64) -> Option<Timestamp> {
        let mut state = self.state();
        state.heard = Instant::now();
        let partition = usize::try_from(partition).unwrap_or(usize::MAX);
        if offset >= 0
            && let Some(end) = state.ends.get_mut(partition)
        {
            if offset < *end {
                let (acknowledged, topic) = (*end, self.topic.clone());
                let lost = Error::TopicLost {
                    topic,
                    partition,
                    acknowledged,
                    found: offset,
                };
                state.failure.get_or_insert(lost);
                self.changed.notify_one();
                return None;
            }
            *end = offset + 1;
        }
        let recorded_at = state.prefix.done(ticket);
        state.acknowledged += u64::from(recorded_at.is_some());
        drop(state);
        self.changed.notify_one();
        recorded_at
    }

    /// Nothing more may be sent.
    pub(crate) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.changed.notify_one();
    }

    pub(crate) fn failure(&self) -> Result<(), Error> {
        self.state().failure.take().map_or(Ok(()), Err)
    }

    /// Completes when something has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn reached(&self) -> Position {
        self.state().prefix.reached()
    }

    pub(crate) fn open(&self) -> usize {
        self.state().prefix.open()
    }

    /// What is acknowledged at this moment.
    pub(crate) fn proven(&self) -> Proven {
        let state = self.state();
        Proven {
            position: state.prefix.reached(),
            ends: state.ends.clone(),
        }
    }

    /// Records acknowledged since the last call.
    pub(crate) fn take_acknowledged(&self) -> u64 {
        std::mem::take(&mut self.state().acknowledged)
    }

    /// How long Kafka has been silent while something was under way.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        let state = self.state();
        (state.prefix.open() > 0).then(|| state.heard.elapsed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here panics while holding the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_hole_holds_the_prefix_back() {
        let mut prefix = Prefix::new(Position(10));
        let tickets: Vec<_> = (11..=14)
            .map(|position| prefix.begin(Position(position), time()))
            .collect();
        for (ticket, reached, open) in [(2, 10, 3), (1, 10, 2), (0, 13, 1), (3, 14, 0)] {
            assert!(prefix.done(tickets[ticket]).is_some());
            assert_eq!((prefix.reached(), prefix.open()), (Position(reached), open));
        }
        assert_eq!(prefix.done(tickets[0]), None, "told twice");
        assert_eq!(prefix.open(), 0);
    }

    #[test]
    fn what_needs_no_sending_is_passed_in_its_turn() {
        let mut prefix = Prefix::new(Position(0));
        prefix.pass(Position(3));
        assert_eq!(prefix.reached(), Position(3));
        let ticket = prefix.begin(Position(4), time());
        prefix.pass(Position(9));
        assert_eq!(prefix.reached(), Position(3));
        prefix.done(ticket);
        assert_eq!((prefix.reached(), prefix.open()), (Position(9), 0));
    }

    #[test]
    fn a_record_that_found_no_room_is_begun_again() {
        let mut prefix = Prefix::new(Position(0));
        let first = prefix.begin(Position(1), time());
        let second = prefix.begin(Position(2), time());
        prefix.withdraw(second);
        prefix.done(first);
        assert_eq!((prefix.reached(), prefix.open()), (Position(1), 0));
        let again = prefix.begin(Position(2), time());
        prefix.done(again);
        assert_eq!(prefix.reached(), Position(2));
    }

    #[test]
    fn an_offset_given_out_twice_is_a_loss() {
        let tracker = Tracker::new("t", Position(0), vec![0, 7]);
        let tickets: Vec<_> = (1..=3)
            .map(|position| tracker.begin(Position(position), time()))
            .collect();
        tracker.acknowledge(tickets[0], 0, 0);
        tracker.acknowledge(tickets[1], 1, -1);
        assert!(tracker.failure().is_ok());
        tracker.acknowledge(tickets[2], 1, 6);
        let failure = tracker.failure();
        assert!(
            matches!(
                failure,
                Err(Error::TopicLost {
                    partition: 1,
                    acknowledged: 7,
                    found: 6,
                    ..
                })
            ),
            "{failure:?}"
        );
        assert_eq!(tracker.reached(), Position(2), "what was lost is not passed");
    }

    proptest! {
        /// Whatever the order of acknowledgements, the prefix ends just before the first record
        /// that has none.
        #[test]
        fn the_prefix_ends_at_the_first_hole(
            steps in prop::collection::vec((1_i64..4, any::<bool>()), 1..60),
            order in any::<prop::sample::Index>(),
            seed in any::<u64>(),
        ) {
            let mut prefix = Prefix::new(Position(0));
            let mut position = 0;
            // (position, ticket where it is sent)
            let mut log = Vec::new();
            for (gap, sent) in steps {
                position += gap;
                if sent {
                    log.push((position, Some(prefix.begin(Position(position), time()))));
                } else {
                    prefix.pass(Position(position));
                    log.push((position, None));
                }
            }
            let mut waiting: Vec<_> = log.iter().filter_map(|(_, ticket)| *ticket).collect();
            let how_many = order.index(waiting.len() + 1);
            let mut seed = seed;
            for _ in 0..how_many {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(seed >> 33).unwrap() % waiting.len();
                prop_assert!(prefix.done(waiting.swap_remove(at)).is_some());
            }
            let hole = log.iter().position(|(_, ticket)| ticket.is_some_and(|it| waiting.contains(&it)));
            let before = &log[..hole.unwrap_or(log.len())];
            prop_assert_eq!(prefix.reached().0, before.last().map_or(0, |(position, _)| *position));
            prop_assert_eq!(prefix.open(), waiting.len());
        }
    }
}
