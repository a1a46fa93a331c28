//! `cluster.json`: what a running cluster says of itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Role;
use crate::{Error, folder};

/// Everything that one needs to use the cluster or to disturb it. The URLs of databases carry
/// passwords, so the file is for its owner's eyes only.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Info {
    /// Where clients go: nginx.
    pub url: String,
    /// The process that started the rest. SIGTERM to it ends everything.
    pub supervisor: u32,
    pub processes: Vec<ProcessInfo>,
    pub kafka: Kafka,
    pub databases: Databases,
    /// The settings of the whole topology.
    pub settings: PathBuf,
    /// The files that hold secrets.
    pub secrets: Vec<PathBuf>,
}

/// One process (of PostgreSQL and nginx, the first of theirs).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProcessInfo {
    pub name: String,
    pub role: Role,
    /// None while it is down.
    pub pid: Option<u32>,
    /// Without a password.
    pub url: String,
    pub port: u16,
    pub log: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Kafka {
    pub bootstrap_servers: String,
    pub topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Databases {
    pub control: String,
    /// By the shards' ids, from 0.
    pub shards: Vec<String>,
    pub shard_standbys: Vec<ShardStandby>,
    pub read_store: String,
    pub read_store_replicas: Vec<String>,
}

/// A streaming standby of a server that holds shards.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ShardStandby {
    pub name: String,
    /// The shards that it has copies of.
    pub shards: Vec<i16>,
    /// Their URLs, in the same order.
    pub urls: Vec<String>,
    /// The copy of the control database, where the server holds it.
    pub control: Option<String>,
}

impl Info {
    /// # Errors
    /// Where the file is missing (no cluster runs) or of another version.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Info {
            path: path.to_owned(),
            source,
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).map_err(|source| Error::Info {
            path: path.to_owned(),
            source,
        })?;
        folder::write_private(path, &text)
    }
}
