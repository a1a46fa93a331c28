//! When a rebuild will have caught up.
//!
//! The rate is that of the last seconds, not the average since the start: a rebuild slows down as
//! its tables grow, and one that was resumed did not fill what was there before. What is recorded
//! meanwhile has to be read too, so the distance shrinks by the difference of both rates.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Estimate {
    readings: VecDeque<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    done: i64,
    total: i64,
}

impl Estimate {
    pub(super) fn read(&mut self, at: Instant, done: i64, total: i64) {
        self.readings.push_back(Reading { at, done, total });
        while self.readings.len() > 2 && self.readings.get(1).is_some_and(|it| at - it.at >= WINDOW) {
            self.readings.pop_front();
        }
    }

    fn ends(&self) -> Option<(f64, Reading, Reading)> {
        let (first, last) = (*self.readings.front()?, *self.readings.back()?);
        let seconds = (last.at - first.at).as_secs_f64();
        (seconds > 0.0).then_some((seconds, first, last))
    }

    /// Events read per second; `None` before there are two readings.
    pub(super) fn rate(&self) -> Option<f64> {
        let (seconds, first, last) = self.ends()?;
        Some((last.done - first.done).max(0) as f64 / seconds)
    }

    /// How long it takes until everything is read, if both rates stay. `None` where nothing can be
    /// said, or where more comes than is read.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let (seconds, first, last) = self.ends()?;
        let missing = (last.total - last.done) as f64;
        if missing <= 0.0 {
            return Some(Duration::ZERO);
        }
        let closing = ((last.done - first.done) - (last.total - first.total)) as f64 / seconds;
        (closing > 0.0)
            .then(|| Duration::try_from_secs_f64(missing / closing).ok())
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(list: &[(u64, i64, i64)]) -> Estimate {
        let (start, mut estimate) = (Instant::now(), Estimate::default());
        for (seconds, done, total) in list {
            estimate.read(start + Duration::from_secs(*seconds), *done, *total);
        }
        estimate
    }

    #[test]
    fn given_one_reading_then_nothing_is_said() {
        let estimate = readings(&[(0, 10, 100)]);
        assert_eq!((estimate.rate(), estimate.remaining()), (None, None));
    }

    #[test]
    fn given_a_log_that_grows_then_what_comes_meanwhile_counts() {
        let still = readings(&[(0, 0, 1_000), (10, 500, 1_000)]);
        assert_eq!(still.rate(), Some(50.0));
        assert_eq!(still.remaining(), Some(Duration::from_secs(10)));
        let grows = readings(&[(0, 0, 1_000), (10, 500, 1_250)]);
        assert_eq!(grows.remaining(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn given_more_coming_than_is_read_then_no_end_is_promised() {
        assert_eq!(readings(&[(0, 0, 1_000), (10, 100, 1_200)]).remaining(), None);
    }

    #[test]
    fn given_a_rate_that_has_changed_then_only_the_last_seconds_count() {
        let estimate = readings(&[
            (0, 0, 10_000),
            (10, 5_000, 10_000),
            (20, 5_500, 10_000),
            (30, 6_000, 10_000),
        ]);
        assert_eq!(estimate.rate(), Some(50.0));
        assert_eq!(estimate.remaining(), Some(Duration::from_secs(80)));
    }

    #[test]
    fn given_nothing_left_then_it_is_over() {
        assert_eq!(readings(&[(0, 5, 5), (1, 5, 5)]).remaining(), Some(Duration::ZERO));
    }
}
