//! What Kafka will still have after a power cut of all its brokers.
//!
//! An acknowledged record is in the memory of several brokers; their kernels write it to disk some
//! time later. So of each position that was seen to be in the topic, the time is kept, and after
//! long enough it counts as settled.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use event_store::Position;

/// A position acknowledged with all before it, and where the topic's partitions ended at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) position: Position,
    /// One past the last acknowledged offset, per partition; 0 where none is known.
    pub(crate) ends: Vec<i64>,
}

#[derive(Debug)]
pub(crate) struct Settling {
    after: Duration,
    seen: VecDeque<(Instant, Proven)>,
}

impl Settling {
    pub(crate) fn new(after: Duration) -> Self {
        Self {
            after,
            seen: VecDeque::new(),
        }
    }

    /// The topic was seen to hold it.
    pub(crate) fn proven(&mut self, now: Instant, proven: Proven) {
        if self.seen.back().is_none_or(|(_, last)| last.position < proven.position) {
            self.seen.push_back((now, proven));
        }
    }

    /// The latest that has become settled since the last call.
    pub(crate) fn settled(&mut self, now: Instant) -> Option<Proven> {
        let mut latest = None;
        while self
            .seen
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) >= self.after)
        {
            latest = self.seen.pop_front().map(|(_, proven)| proven);
        }
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: i64) -> Proven {
        Proven {
            position: Position(position),
            ends: vec![position],
        }
    }

    #[test]
    fn the_latest_that_is_old_enough_settles_once() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut settling = Settling::new(second * 10);
        for tick in 0..5_u32 {
            settling.proven(start + second * tick, at(i64::from(tick) * 100));
        }
        assert_eq!(settling.settled(start + second * 9), None);
        assert_eq!(settling.settled(start + second * 12), Some(at(200)));
        assert_eq!(settling.settled(start + second * 12), None);
        assert_eq!(settling.settled(start + second * 60), Some(at(400)));
    }

    #[test]
    fn an_idle_shard_adds_nothing() {
        let mut settling = Settling::new(Duration::ZERO);
        let now = Instant::now();
        settling.proven(now, at(5));
        settling.proven(now, at(5));
        assert_eq!(settling.seen.len(), 1);
    }
}
