//! The databases: control, the shards of the event store, the read stores.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::DatabaseUrl;

/// One PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://user@host:port/database`; empty means the local server that `comanda up` runs.
    pub url: DatabaseUrl,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Connections kept at most.
    pub connections: u32,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            url_file: None,
            connections: 10,
        }
    }
}

/// The event store: its shards and the bounds of its queues.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventStoreSettings {
    /// The shards; none means the four that `comanda up` runs on its local server.
    pub shards: Vec<ShardSettings>,
    /// Connections per shard for loading and tailing; appending has one of its own.
    pub connections: u32,
    /// Appends waiting per shard; beyond it 503 `overloaded`.
    pub queue_capacity: usize,
    /// Appends sent to the shard as one batch, at most.
    pub batch_max: usize,
    /// Events kept in memory for commands, per kind of aggregate.
    pub cached_events: u64,
    /// How often a tail looks for new events when no wake-up reached it.
    pub poll_interval_ms: u64,
    /// How long an append waits for the shard's head.
    pub lock_timeout_ms: u64,
    /// How long one statement may take.
    pub statement_timeout_ms: u64,
    /// How often the control database is asked which shards there are and where slots are placed.
    pub placement_poll_ms: u64,
}

impl Default for EventStoreSettings {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            connections: 10,
            queue_capacity: 2_048,
            batch_max: 128,
            cached_events: 20_000,
            poll_interval_ms: 250,
            lock_timeout_ms: 2_000,
            statement_timeout_ms: 5_000,
            placement_poll_ms: 2_000,
        }
    }
}

/// One shard of the event store.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSettings {
    pub id: i16,
    #[serde(default)]
    pub url: DatabaseUrl,
    /// A file that holds the URL.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
}

/// One read store: a PostgreSQL that a group of projectors writes, and its standbys.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReadStoreSettings {
    /// Names the store in logs, metrics and `projector.read_store`.
    #[serde(default = "main_store")]
    pub name: String,
    #[serde(default)]
    pub url: DatabaseUrl,
    /// A file that holds the URL.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
    /// Connections kept at most, to it and to each standby.
    #[serde(default = "read_connections")]
    pub connections: u32,
    /// Its streaming standbys, which answer queries too.
    #[serde(default)]
    pub replicas: Vec<ReplicaSettings>,
}

impl ReadStoreSettings {
    /// A store without standbys, under the name that a single one has.
    pub fn main(url: DatabaseUrl) -> Self {
        Self {
            name: main_store(),
            url,
            url_file: None,
            connections: read_connections(),
            replicas: Vec::new(),
        }
    }
}

/// A streaming standby of a read store.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaSettings {
    pub name: String,
    #[serde(default)]
    pub url: DatabaseUrl,
    /// A file that holds the URL.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
}

pub(super) fn main_store() -> String {
    "main".to_owned()
}

fn read_connections() -> u32 {
    10
}
