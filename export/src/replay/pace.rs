//! When each event of a replay is due.

use std::time::Duration;

use domain::Timestamp;
use tokio::time::Instant;

/// The longest that one event is waited for: a replay that would take years is a mistake, and it
/// still goes on.
const WAIT_MAX: f64 = 365.0 * 24.0 * 3600.0;

/// How fast events are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As fast as the receiver takes them.
    Unlimited,
    /// Events per second, evenly.
    Rate(f64),
    /// As they were recorded, so many times faster.
    Speed(f64),
}

/// Counts from the first event on. A receiver that cannot keep up is not waited for twice: what is
/// late is sent at once.
pub(super) struct Pacer {
    pace: Pace,
    begun: Option<(Instant, Timestamp)>,
    events: f64,
}

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            begun: None,
            events: 0.0,
        }
    }

    /// When the next event is due; `None`: at once.
    pub(super) fn due(&mut self, recorded_at: Timestamp) -> Option<Instant> {
        let (begun, first) = *self.begun.get_or_insert_with(|| (Instant::now(), recorded_at));
        let nth = self.events;
        self.events += 1.0;
        let seconds = match self.pace {
            Pace::Unlimited => return None,
            Pace::Rate(rate) => nth / rate,
            Pace::Speed(speed) => {
                let passed = recorded_at.as_datetime() - first.as_datetime();
                passed.as_seconds_f64() / speed
            }
        };
        Some(begun + Duration::from_secs_f64(seconds.clamp(0.0, WAIT_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        let first: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        first.plus_seconds(second)
    }

    fn waits(pace: Pace, recorded: &[i64]) -> Vec<Option<Duration>> {
        let mut pacer = Pacer::new(pace);
        let first = pacer.due(at(recorded[0]));
        let begun = first.unwrap_or_else(Instant::now);
        let rest = recorded[1..].iter().map(|second| pacer.due(at(*second)));
        rest.map(|due| due.map(|due| due.saturating_duration_since(begun)))
            .collect()
    }

    #[test]
    fn given_a_speed_then_events_are_as_far_apart_as_they_were_recorded_divided_by_it() {
        let waits = waits(Pace::Speed(60.0), &[0, 60, 60, 30, 3600]);
        let seconds: Vec<f64> = waits.iter().map(|wait| wait.unwrap().as_secs_f64()).collect();
        assert_eq!(
            seconds,
            [1.0, 1.0, 0.5, 60.0],
            "one recorded earlier is late and not waited for"
        );
    }

    #[test]
    fn given_a_rate_then_events_are_evenly_apart_whenever_they_were_recorded() {
        let waits = waits(Pace::Rate(4.0), &[0, 9000, 1]);
        assert_eq!(
            waits,
            [Some(Duration::from_millis(250)), Some(Duration::from_millis(500))]
        );
    }

    #[test]
    fn given_no_pace_then_nothing_waits() {
        assert_eq!(waits(Pace::Unlimited, &[0, 9000]), [None]);
    }
}
