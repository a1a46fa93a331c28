//! What a projector does, for whoever shares its process: that it committed, so that a query which
//! waits for its own write wakes at once, and how it is doing, for health.
//!
//! A hint, never the truth: the truth is the checkpoint that commits with the rows. A reader woken
//! here looks there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use event_store::{ShardId, Slot};
use service::health::Part;
use tokio::sync::watch;

use crate::error::Error;
use crate::generation::Refused;
use crate::intake::Stopped;

/// Shared by all feeds of a projector. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Counts commits of whatever slot.
    commits: watch::Sender<u64>,
    shards: Mutex<BTreeMap<ShardId, ShardStatus>>,
    kafka: Mutex<Option<KafkaStatus>>,
    /// Read models that this binary must not feed, and why.
    refused: Mutex<BTreeMap<&'static str, String>>,
}

/// How reading the topic is going.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaStatus {
    /// Kafka, or the topic, cannot be reached just now.
    pub away: bool,
    /// How many partitions the group has given to this process.
    pub partitions: usize,
}

/// How one shard's feed is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardStatus {
    /// The feed has not begun: a database does not answer.
    pub start_problem: bool,
    /// Batches cannot be written, and are tried again.
    pub read_store_problem: bool,
    /// The log cannot be read, and is tried again.
    pub log_problem: bool,
    /// Slots that stand still until something is done about them.
    pub stopped: BTreeMap<Slot, Stopped>,
    /// Events in the log and not yet in the read model, as last compared.
    pub lag_events: BTreeMap<&'static str, i64>,
    /// The same by part of the log.
    pub(crate) lag_of_parts: BTreeMap<(&'static str, ShardId), i64>,
    /// Streams parked, in all of the read store's slots.
    pub parked_streams: BTreeMap<&'static str, i64>,
}

impl ShardStatus {
    /// What is wrong, for `/health`: names no host, credential or tenant.
    fn problems(&self, shard: ShardId) -> Vec<String> {
        let mut problems = vec![];
        let mut say = |wrong: bool, what: &str| {
            if wrong {
                problems.push(format!("feed {shard}: {what}"));
            }
        };
        say(self.start_problem, "the feed has not started");
        say(self.read_store_problem, "batches cannot be written");
        say(self.log_problem, "the log cannot be read");
        problems.extend(
            self.stopped
                .iter()
                .take(3)
                .map(|(slot, why)| format!("slot {slot} stands still: {why}")),
        );
        if self.stopped.len() > 3 {
            problems.push(format!("{} slots of feed {shard} stand still", self.stopped.len()));
        }
        problems
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            commits: watch::Sender::new(0),
            shards: Mutex::default(),
            kafka: Mutex::default(),
            refused: Mutex::default(),
        }))
    }

    /// Changes whenever a batch is committed.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// How the feeds are doing, for `/health`. Reads that are stale are degraded, never down.
    pub fn health(&self) -> Part {
        let shards = self.shards();
        let mut problems: Vec<String> = shards
            .iter()
            .flat_map(|(shard, status)| status.problems(*shard))
            .collect();
        if self.kafka().is_some_and(|kafka| kafka.away) {
            problems.push("Kafka or the topic cannot be reached: read models stand still".to_owned());
        }
        problems.extend(self.refused().into_values());
        let parked = shards.values().next().map(|status| &status.parked_streams);
        for (read_model, streams) in parked.into_iter().flatten().filter(|(_, streams)| **streams > 0) {
            problems.push(format!("{streams} parked streams in {read_model}"));
        }
        let lag: i64 = shards
            .values()
            .flat_map(|status| status.lag_events.values())
            .max()
            .copied()
            .unwrap_or(0);
        if problems.is_empty() {
            return Part::ok().with_detail(format!("read models are at most {lag} events behind the log"));
        }
        let remedy = "See the log of this process for causes. A slot that stands still says what it needs; parked \
                      streams wait for `comanda parked retry`; everything else is tried again by itself.";
        Part::degraded(problems.join("; "), remedy)
    }

    /// How each shard's feed is doing.
    pub fn shards(&self) -> BTreeMap<ShardId, ShardStatus> {
        self.0.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How reading the topic is going; `None` where the shards are tailed.
    pub fn kafka(&self) -> Option<KafkaStatus> {
        self.0.kafka.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Read models that this binary does not feed, because another version of their code filled what
    /// there is; each with what to do.
    pub fn refused(&self) -> BTreeMap<&'static str, String> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn refuse(&self, refused: &[Refused]) {
        let described = |refused: &Refused| (refused.read_model, Error::from(*refused).to_string());
        let now: BTreeMap<_, _> = refused.iter().map(described).collect();
        let mut known = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (read_model, why) in now.iter().filter(|(name, why)| known.get(**name) != Some(*why)) {
            tracing::error!(read_model, why, "the read model is not fed");
        }
        *known = now;
    }

    pub(crate) fn update_kafka(&self, change: impl FnOnce(&mut KafkaStatus)) {
        change(
            self.0
                .kafka
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_default(),
        );
    }

    /// Tells whoever waits for any commit.
    pub(crate) fn committed(&self) {
        self.0.commits.send_modify(|commits| *commits += 1);
    }

    pub(crate) fn update(&self, shard: ShardId, change: impl FnOnce(&mut ShardStatus)) {
        change(
            self.0
                .shards
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(shard)
                .or_default(),
        );
    }
}
