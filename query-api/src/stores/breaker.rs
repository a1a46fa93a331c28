//! When an endpoint is left alone.
//!
//! Closed, it takes requests. After so many failures in a row, or once it is known to be away, it
//! opens: nothing is sent there for a while, then one request (or the watch) tries whether it is
//! back. That one decides: closed again, or open for as long again.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub(super) struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        since: Instant,
    },
    /// Somebody tries; where nothing is heard of it, another may.
    Trying {
        since: Instant,
    },
}

impl Breaker {
    pub(super) fn new(failures_max: u32, open_for: Duration) -> Self {
        Self {
            failures_max: failures_max.max(1),
            open_for,
            state: State::Closed { failures: 0 },
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether a request may go there now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { since } | State::Trying { since } => now.duration_since(since) >= self.open_for,
        }
    }

    /// A request goes there; while open it is the one that tries.
    pub(super) fn enter(&mut self, now: Instant) -> bool {
        let admitted = self.admits(now);
        if admitted && !self.is_closed() {
            self.state = State::Trying { since: now };
        }
        admitted
    }

    pub(super) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// The watch got an answer: that ends an opening that has lasted, and none before. What the
    /// watch asks may be answered where requests are not.
    pub(super) fn answered(&mut self, now: Instant) {
        if self.admits(now) && !self.is_closed() {
            self.succeeded();
        }
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.failures_max => State::Closed { failures: failures + 1 },
            State::Closed { .. } | State::Trying { .. } => State::Open { since: now },
            // A request that was on its way when it opened says nothing new.
            open @ State::Open { .. } => open,
        };
    }

    /// It is known to be away.
    pub(super) fn open(&mut self, now: Instant) {
        self.state = State::Open { since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(1);

    #[test]
    fn given_failures_in_a_row_then_it_opens_and_a_success_in_between_starts_over() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, OPEN_FOR);
        breaker.failed(now);
        breaker.failed(now);
        breaker.succeeded();
        breaker.failed(now);
        breaker.failed(now);
        assert!(breaker.enter(now));
        breaker.failed(now);
        assert!(!breaker.enter(now) && !breaker.is_closed());
    }

    #[test]
    fn given_an_open_one_then_one_request_at_a_time_tries() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, OPEN_FOR);
        breaker.failed(now);
        let later = now + OPEN_FOR;
        assert!(!breaker.enter(later - Duration::from_millis(1)));
        assert!(breaker.enter(later));
        assert!(!breaker.enter(later), "the other waits for what comes of it");
        breaker.failed(later);
        assert!(!breaker.enter(later + OPEN_FOR / 2));
        assert!(breaker.enter(later + OPEN_FOR));
        breaker.succeeded();
        assert!(breaker.is_closed());
    }

    #[test]
    fn given_the_watch_gets_answers_then_only_an_opening_that_lasted_ends() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, OPEN_FOR);
        breaker.failed(now);
        breaker.answered(now);
        assert!(!breaker.is_closed());
        breaker.answered(now + OPEN_FOR);
        assert!(breaker.is_closed());
    }
}
