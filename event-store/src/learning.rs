//! Learning the platform's shape while it runs: every [`Options::placement_poll`] the control
//! database is asked which shards there are and where slots were placed.
//!
//! Guarantee: a shard that is registered there, and whose URL it or the settings name, is opened and
//! its slots are routed to within a poll of being reachable; where its placement differs from what is
//! known, the shards themselves are asked. While it is away, what was last known stays.
//!
//! On a crash nothing is lost: a new process reads it again, or starts with the shards of its
//! settings. Not needed for correctness: an append to a slot that moved is refused by its shard,
//! which makes the store ask the others. Without this loop a process just does not hear of new
//! shards. A shard is never closed here, and a changed URL counts from the next start.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::control::{self, Registered, RegisteredShard};
use crate::error::Error;
use crate::ids::ShardId;
use crate::options::{Options, ShardOptions};
use crate::placement::identify;
use crate::store::Inner;

const PATIENCE: Duration = Duration::from_secs(3);

/// The loop. Ends when the store is closed or its last handle is dropped.
pub(crate) struct Learning {
    pub(crate) store: Weak<Inner>,
    pub(crate) control: PgConnectOptions,
    /// Said once, not every two seconds.
    complained: BTreeSet<ShardId>,
    away: bool,
}

impl Learning {
    pub(crate) fn new(store: Weak<Inner>, options: &Options) -> Result<Option<Self>, Error> {
        let Some(control) = &options.control else {
            return Ok(None);
        };
        let control: PgConnectOptions = control
            .url
            .parse()
            .map_err(|_| Error::Misconfigured("the control database's URL is not one of PostgreSQL's".to_owned()))?;
        Ok(Some(Self {
            store,
            control: control.application_name("comanda placement"),
            complained: BTreeSet::new(),
            away: false,
        }))
    }

    pub(crate) async fn run(mut self, every: Duration) {
        let mut ticks = interval(every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Some(closing) = self.store.upgrade().map(|store| store.shards.closing().clone()) else {
            return;
        };
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = closing.cancelled() => return,
            }
            if self.store.strong_count() == 0 {
                return;
            }
            tokio::select! {
                () = self.look() => {}
                () = closing.cancelled() => return,
            }
        }
    }

    pub(crate) async fn look(&mut self) {
        match timeout(PATIENCE, control::look(&self.control)).await {
            Ok(Ok(registered)) => {
                if std::mem::take(&mut self.away) {
                    tracing::info!("the control database is back");
                }
                self.learn(registered).await;
            }
            failed => {
                let error = failed.err().map_or_else(
                    || "it refuses".to_owned(),
                    |elapsed| format!("it does not answer: {elapsed}"),
                );
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(
                        error,
                        "the control database cannot be read; the last known placement stays"
                    );
                }
            }
        }
    }

    async fn learn(&mut self, registered: Registered) {
        let Some(store) = self.store.upgrade() else {
            return;
        };
        let mut opened = false;
        for shard in &registered.shards {
            if store.shards.get(shard.id).is_none() {
                opened |= self.open(&store, shard).await;
            }
        }
        if opened || store.placement.differs_from(&registered.placement, &store.shards) {
            store.placement.refresh(&store.shards, Instant::now()).await;
        }
    }

    /// Opens a new shard once its database says that it is that shard.
    async fn open(&mut self, store: &Inner, shard: &RegisteredShard) -> bool {
        let named = store.options.shards.iter().find(|named| named.id == shard.id);
        let url = named.map(|named| &named.url).or(shard.url.as_ref());
        let Some(url) = url.cloned() else {
            self.complain(shard.id, "neither the settings nor the control database name its URL");
            return false;
        };
        let id = shard.id;
        let started = match store.shards.start(&ShardOptions { id, url }, &store.options) {
            Ok(started) => started,
            Err(error) => {
                self.complain(id, &error.to_string());
                return false;
            }
        };
        match timeout(PATIENCE, identify(&started)).await {
            Ok(Ok(())) => {
                store.shards.add(started);
                self.complained.remove(&id);
                tracing::info!(shard = %id, "a new shard was opened");
                true
            }
            Ok(Err(error)) => {
                self.complain(id, &error.to_string());
                false
            }
            Err(_) => {
                self.complain(id, "its database does not answer");
                false
            }
        }
    }

    fn complain(&mut self, shard: ShardId, reason: &str) {
        if self.complained.insert(shard) {
            tracing::warn!(shard = %shard, reason, "a registered shard cannot be opened; trying on");
        }
    }
}
