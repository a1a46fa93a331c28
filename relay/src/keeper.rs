//! Looks after one shard for as long as the relay runs: waits for its lease, publishes while it has
//! it, starts again when something goes wrong.
//!
//! Guarantee: it never gives up but for a reason that a person must remove. On a crash the lease
//! runs out by itself, and the next holder begins at the cursor.

use std::time::Duration;

use service::shutdown::Shutdown;
use tokio::time::sleep;

use crate::cursor::{Attendance, Desk, Lease};
use crate::error::Error;
use crate::metric;
use crate::session::{Ended, Session, Workplace};
use crate::settings::Intervals;

/// How often a lease is asked for that another relay is about to give back.
const AWAITED: Duration = Duration::from_millis(100);

pub(crate) struct Keeper {
    work: Workplace,
    desk: Desk,
    lease: Option<Lease>,
    /// One past the last acknowledged offset per partition, as far as this relay knows.
    ends: Vec<i64>,
    failures: u32,
}

impl Keeper {
    pub(crate) fn new(work: Workplace, desk: Desk) -> Self {
        Self {
            work,
            desk,
            lease: None,
            ends: Vec::new(),
            failures: 0,
        }
    }

    /// # Errors
    /// Only those that [`Error::is_final`].
    pub(crate) async fn run(mut self, stop: Shutdown) -> Result<(), Error> {
        let mut end = Ok(());
        while !stop.is_triggered() {
            let pause = match self.turn(&stop).await {
                Ok(pause) => pause,
                Err(error) if error.is_final() => {
                    self.report(&error);
                    end = Err(error);
                    break;
                }
                Err(error) => self.recover(error).await,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.leave().await;
        end
    }

    /// One look at the lease, and a session if it is ours. Returns how long to wait then.
    async fn turn(&mut self, stop: &Shutdown) -> Result<Duration, Error> {
        let lease = match self.desk.attend(self.lease.as_ref()).await? {
            Attendance::Held(lease) => lease,
            Attendance::HandOver(lease) => {
                self.hand_over(&lease).await?;
                return Ok(self.work.settings.relay.attend_interval());
            }
            Attendance::Awaited => return Ok(AWAITED),
            Attendance::Elsewhere => return Ok(self.work.settings.relay.attend_interval()),
        };
        if self.lease.is_none() {
            tracing::info!(shard = %self.work.post.shard, position = %lease.position, "lease taken");
            self.ends.clone_from(&lease.settled_ends);
        }
        self.ends
            .resize(usize::from(self.work.settings.kafka.topic.partitions), 0);
        let lease = self.lease.insert(lease);
        metric::held(&self.work.post.shard.to_string(), true);
        self.work.observe(&self.desk, lease);
        self.work
            .board
            .update(self.work.post.shard, |status| status.held = true);
        // Made now, it is not the topic that was published into before.
        let made = self.work.topic.ensure().await?;
        if made && lease.position.0 > 0 {
            return Err(Error::TopicMissing {
                topic: self.work.settings.kafka.topic.name.clone(),
            });
        }
        self.work.topic.compare(&self.ends, &self.work.topic.ends().await?)?;
        // Kafka answers. Where nothing waits to be published, nothing will show it later.
        self.work.board.update(self.work.post.shard, |status| {
            if status.head <= status.published {
                status.trouble = None;
            }
        });
        let before = lease.position;
        let ended = Session::begin(&self.work, &mut self.desk, lease, &mut self.ends)?
            .run(stop)
            .await;
        if lease.position > before {
            self.failures = 0;
        }
        let lease = lease.clone();
        match ended? {
            Ended::HandOver => self.hand_over(&lease).await?,
            Ended::Stopped => {}
        }
        Ok(AWAITED)
    }

    async fn hand_over(&mut self, lease: &Lease) -> Result<(), Error> {
        self.drop_lease();
        self.desk.release(lease).await?;
        tracing::info!(shard = %self.work.post.shard, position = %lease.position, "lease handed over");
        Ok(())
    }

    /// Does what a failure asks for; returns how long to wait before the next turn.
    async fn recover(&mut self, error: Error) -> Duration {
        self.report(&error);
        self.failures = self.failures.saturating_add(1);
        if matches!(error, Error::LeaseLost) {
            self.drop_lease();
        } else if error.is_loss()
            && let Err(error) = self.rewind().await
        {
            self.report(&error);
            // Found again by whoever holds the lease next, from the settled ends.
            self.drop_lease();
        }
        let settings = &self.work.settings.relay;
        let doubled = settings
            .retry_min_ms
            .max(1)
            .saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        Duration::from_millis(u64::from(doubled.min(settings.retry_max_ms.max(1))))
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let from = lease.position;
        self.desk.rewind(lease).await?;
        self.ends.fill(0);
        self.work.losses.announce();
        metric::rewind(&self.work.post.shard.to_string());
        tracing::error!(
            shard = %self.work.post.shard, from = %from, to = %lease.position, topic = %self.work.settings.kafka.topic.name,
            "Kafka lost records that it had acknowledged; publishing again from where it surely had them"
        );
        Ok(())
    }

    fn report(&self, error: &Error) {
        let shard = self.work.post.shard;
        metric::failure(&shard.to_string(), error);
        let text = error.chain();
        tracing::warn!(shard = %shard, error = %text, kind = error.kind(), "publishing stopped");
        self.work.board.update(shard, |status| status.trouble = Some(text));
    }

    fn drop_lease(&mut self) {
        self.lease = None;
        metric::held(&self.work.post.shard.to_string(), false);
        self.work
            .board
            .update(self.work.post.shard, |status| status.held = false);
    }

    async fn leave(mut self) {
        let lease = self.lease.take();
        self.drop_lease();
        let mut left = Ok(());
        if let Some(lease) = &lease {
            left = self.desk.release(lease).await;
        }
        if let Err(error) = left.and(self.desk.leave().await) {
            // It runs out by itself.
            tracing::info!(shard = %self.work.post.shard, error = %error.chain(), "the lease could not be given back");
        }
        self.desk.close().await;
    }
}
