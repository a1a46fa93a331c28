//! What a relay is told, as its loops use it.

use std::time::Duration;

use service::settings::{KafkaSettings, RelaySettings};

/// How a relay publishes, and to where.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) kafka: KafkaSettings,
    pub(crate) relay: RelaySettings,
}

/// The settings' milliseconds as durations, within bounds at which the loops still work.
pub(crate) trait Intervals {
    fn lease(&self) -> Duration;
    /// Often enough that a few that fail cost no lease.
    fn attend_interval(&self) -> Duration;
    fn advance_interval(&self) -> Duration;
    fn check_interval(&self) -> Duration;
    fn settle(&self) -> Duration;
    fn stall(&self) -> Duration;
    fn drain(&self) -> Duration;
}

impl Intervals for RelaySettings {
    fn lease(&self) -> Duration {
        ms(self.lease_ms)
    }

    fn attend_interval(&self) -> Duration {
        ms((self.lease_ms / 5).max(50))
    }

    fn advance_interval(&self) -> Duration {
        ms(self.advance_interval_ms.max(1))
    }

    fn check_interval(&self) -> Duration {
        ms(self.check_interval_ms.max(100))
    }

    fn settle(&self) -> Duration {
        ms(self.settle_ms)
    }

    fn stall(&self) -> Duration {
        ms(self.stall_ms)
    }

    fn drain(&self) -> Duration {
        ms(self.drain_ms)
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}
