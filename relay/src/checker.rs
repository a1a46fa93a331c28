//! Compares the topic with what was acknowledged, every few seconds.
//!
//! Kafka can lose what it acknowledged: a topic is deleted and made again, or all brokers lose
//! power before their kernels have written. Either shows in a partition that ends before the last
//! acknowledged offset. Then publishing goes back to a position that was seen in the topic long
//! enough ago to be on its disks. Consumers drop the repetitions.
//!
//! Not seen: a topic made again that has already grown beyond where it ended before. Consumers find
//! that by `slot_position` and refill from the shard.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use service::settings::RelaySettings;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Error;
use crate::kafka::Topic;
use crate::settings::Intervals;
use crate::settling::Settling;
use crate::tracker::Tracker;

/// Shared by the shards of a process: where one sees a loss, it concerns all of them.
#[derive(Debug, Clone)]
pub(crate) struct Losses(watch::Sender<u64>);

impl Default for Losses {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Losses {
    pub(crate) fn announce(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }
}

pub(crate) struct Checker {
    pub(crate) topic: Topic,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) settling: Arc<Mutex<Settling>>,
}

impl Checker {
    /// Checks until it finds a loss, which ends the session through the tracker.
    pub(crate) async fn run(self, settings: RelaySettings) {
        let mut ticks = interval(settings.check_interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The session has compared already when it began.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match self.check().await {
                Ok(()) => {}
                Err(error) if error.is_loss() || error.is_final() => return self.tracker.fail(error),
                // Kafka is away, and what was acknowledged is not known to be gone.
                Err(error) => tracing::debug!(error = %error.chain(), "the topic could not be checked"),
            }
        }
    }

    async fn check(&self) -> Result<(), Error> {
        // First what is acknowledged, then where the topic ends: it only grows.
        let proven = self.tracker.proven();
        let ends = self.topic.ends().await?;
        self.topic.compare(&proven.ends, &ends)?;
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        settling.proven(Instant::now(), proven);
        Ok(())
    }
}
