//! What a backup holds, and how far each part of the platform was when it began.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One backup of the whole platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The moment it began, as a name; later ones sort later.
    pub id: String,
    /// The version of the program that took it.
    pub comanda_version: String,
    /// Whether the platform's databases are those of one local server that `comanda up` runs.
    pub local: bool,
    pub servers: Vec<ServerRecord>,
}

/// One PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// The name of its folder.
    pub server: String,
    pub system_identifier: i64,
    pub timeline: i64,
    pub postgres_major: u32,
    /// The archive that goes on from here; none where it was not archived.
    pub archive: Option<String>,
    pub start_lsn: String,
    pub end_lsn: String,
    /// By the server's clock. From here on every moment can be restored.
    pub ended_at: DateTime<Utc>,
    pub databases: Vec<DatabaseRecord>,
}

/// One database of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// As the platform calls it: `control`, `shard_0`, `read_store main`.
    pub name: String,
    /// As PostgreSQL calls it.
    pub database: String,
    pub kind: DatabaseKind,
    /// The version of its schema.
    pub schema_version: i64,
    /// Of a shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardRecord>,
}

/// What a database is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseKind {
    Control,
    Shard(i16),
    ReadStore(String),
}

/// How far a shard was when the backup began: all of it is in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    pub position: i64,
    pub slots_owned: i64,
    /// Up to where it was published, by topic.
    pub published: BTreeMap<String, i64>,
    /// The slots that hold events.
    pub heads: BTreeMap<i16, Head>,
}

/// Where a slot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub slot_position: i64,
    pub incarnation: i32,
    pub owned: bool,
}

impl Manifest {
    /// The moment from which on everything can be restored.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.servers.iter().map(|server| server.ended_at).max()
    }
}
