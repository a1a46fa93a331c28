//! What a process can decide about its event store.

use std::fmt;
use std::time::Duration;

use crate::ids::ShardId;

/// Settings of an [`EventStore`](crate::EventStore). `Default` has no shards.
#[derive(Debug, Clone)]
pub struct Options {
    pub shards: Vec<ShardOptions>,
    /// Where shards that are added later are learnt from; `None`: there are none but `shards`.
    pub control: Option<ControlOptions>,
    /// How often the control database is asked.
    pub placement_poll: Duration,
    /// Room in each shard's queue, in appends of up to 8 KiB (a larger one takes more). When it is
    /// full an append is refused at once.
    pub queue_capacity: usize,
    /// The most appends sent to a shard in one call.
    pub batch_max: usize,
    /// The most bytes of events sent in one call; a single append may exceed it.
    pub batch_max_bytes: usize,
    /// Connections per shard for reading; the committer has its own.
    pub read_connections: u32,
    /// Events kept in memory per kind of aggregate, so that hot streams need not be read.
    pub cached_events: u64,
    /// How long an append may wait for a shard's head lock.
    pub lock_timeout: Duration,
    /// How long an append or a read may run.
    pub statement_timeout: Duration,
    /// How long a batch may wait for a lost connection to come back before it fails.
    pub reconnect_within: Duration,
    /// How long a tail waits before it looks again without having been woken.
    pub poll_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            control: None,
            placement_poll: Duration::from_secs(2),
            queue_capacity: 4096,
            batch_max: 128,
            batch_max_bytes: 4 << 20,
            read_connections: 8,
            cached_events: 20_000,
            lock_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(10),
            reconnect_within: Duration::from_secs(5),
            poll_interval: Duration::from_millis(250),
        }
    }
}

/// One shard: its id, which its database must confirm, and where it is.
#[derive(Clone)]
pub struct ShardOptions {
    pub id: ShardId,
    /// `postgres://…`; may hold a password, so it is never printed.
    pub url: String,
}

impl fmt::Debug for ShardOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardOptions")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Where the control database is.
#[derive(Clone)]
pub struct ControlOptions {
    /// `postgres://…`; may hold a password, so it is never printed.
    pub url: String,
}

impl fmt::Debug for ControlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlOptions").finish_non_exhaustive()
    }
}
