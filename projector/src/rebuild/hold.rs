//! Holding a rebuild's lease and saying how far it is.
//!
//! Guarantee: while it runs the lease does not run out, and what [`super::list`] and metrics say of
//! the rebuild is about a second old. A renewal that fails is tried again; one that finds the lease
//! with somebody else ends the rebuild. A crash loses nothing but the lease.

use std::sync::Mutex;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::Observer;
use super::estimate::Estimate;
use super::fill::Filler;
use super::switch::Switched;
use crate::error::{Error, described};
use crate::generation::Generation;

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(1);

/// What a rebuild is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the log.
    Filling,
    /// Comparing with the log, and with what is served.
    Verifying,
    Done,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Verifying => "verifying",
            Self::Done => "done",
        }
    }
}

/// How far a rebuild is.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub phase: Phase,
    /// Each read model and the number of its generation.
    pub generations: Vec<(&'static str, i32)>,
    /// Events that all of the generations have.
    pub events_done: i64,
    /// Events in the log now, up to where it is to be read.
    pub events_total: i64,
    /// Over the last seconds.
    pub events_per_second: Option<f64>,
    /// Until everything is read, what comes meanwhile included; verifying comes after. `None` where
    /// nothing can be said.
    pub remaining: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Holding {
    read_store: PgPool,
    lease: Uuid,
    lasts: Duration,
    phase: watch::Sender<Phase>,
    estimate: Mutex<Estimate>,
}

impl Holding {
    pub(super) fn new(read_store: PgPool, lease: Uuid, lasts: Duration) -> Self {
        Self {
            read_store,
            lease,
            lasts,
            phase: watch::Sender::new(Phase::Filling),
            estimate: Mutex::default(),
        }
    }

    /// Does the work, and holds the lease meanwhile.
    pub(super) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
        filler: &Filler,
        observer: Observer<'_>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => {
                // The end is told even where it came at once.
                if done.is_ok() && let Some(status) = self.look(filler).await? {
                    observer(&status);
                }
                done
            }
            error = self.renew(filler, observer) => Err(error),
        }
    }

    /// Ends only where the lease is lost.
    async fn renew(&self, filler: &Filler, observer: Observer<'_>) -> Error {
        let (mut tick, mut phase) = (interval(RENEW.min(self.lasts / 3)), self.phase.subscribe());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                // The sender lives as long as `self`.
                _ = phase.changed() => {}
            }
            match self.look(filler).await {
                Ok(Some(status)) => observer(&status),
                Ok(None) => return Error::LeaseLost,
                Err(error) => {
                    let why = described(&error);
                    tracing::warn!(error = why, "the rebuild's lease cannot be renewed; trying again");
                }
            }
        }
    }

    /// Renews the lease and writes down how far the rebuild is; `None` where it is not held any more.
    async fn look(&self, filler: &Filler) -> Result<Option<Status>, Error> {
        if !self.renewed().await? {
            return Ok(None);
        }
        let outlook = filler.look().await?;
        let (done, total) = (outlook.done, outlook.done + outlook.remaining);
        let (rate, remaining) = {
            let mut estimate = self.estimate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            estimate.read(Instant::now(), done, total);
            (estimate.rate(), estimate.remaining())
        };
        let status = Status {
            phase: *self.phase.borrow(),
            generations: filler
                .generations()
                .iter()
                .map(|it| (it.read_model, it.number))
                .collect(),
            events_done: done,
            events_total: total,
            events_per_second: rate,
            remaining,
        };
        sqlx::query(
            "UPDATE meta.rebuilds
                SET events_done = $2, events_total = $3, events_per_second = $4, remaining_ms = $5
              WHERE lease = $1",
        )
        .bind(self.lease)
        .bind(done)
        .bind(total)
        .bind(rate)
        .bind(remaining.map(|it| it.as_secs_f64() * 1_000.0))
        .execute(&self.read_store)
        .await?;
        Ok(Some(status))
    }

    async fn renewed(&self) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query(
            "UPDATE meta.rebuilds SET lease_until = clock_timestamp() + $2, updated_at = clock_timestamp()
              WHERE lease = $1",
        )
        .bind(self.lease)
        .bind(super::interval(self.lasts))
        .execute(&self.read_store)
        .await?;
        Ok(renewed.rows_affected() > 0)
    }

    pub(super) async fn enter(&self, phase: Phase) -> Result<(), Error> {
        let sql = match phase {
            Phase::Filling => "UPDATE meta.rebuilds SET state = 'filling' WHERE lease = $1",
            Phase::Verifying => {
                "UPDATE meta.rebuilds SET state = 'verifying', filled_at = coalesce(filled_at, clock_timestamp())
                  WHERE lease = $1"
            }
            // Others may go on with it at once where that is wanted.
            Phase::Done => "UPDATE meta.rebuilds SET lease_until = clock_timestamp() WHERE lease = $1",
        };
        sqlx::query(sql).bind(self.lease).execute(&self.read_store).await?;
        self.phase.send_replace(phase);
        Ok(())
    }

    /// Writes down how a generation was found, and that nothing was switched.
    pub(super) async fn record(&self, generation: &Generation, state: &str) -> Result<Option<Switched>, Error> {
        sqlx::query(
            "UPDATE meta.rebuilds SET state = $3, verified_at = clock_timestamp()
              WHERE read_model = $1 AND generation = $2",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(state)
        .execute(&self.read_store)
        .await?;
        Ok(None)
    }
}
