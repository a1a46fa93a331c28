//! What a cluster is started with.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    CommandApi,
    Relay,
    Projector,
    QueryApi,
    OpsApi,
    Nginx,
    Kafka,
    Postgres,
}

impl Role {
    /// The verb of the `comanda` binary where the role is one; its name otherwise.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandApi => "command-api",
            Self::Relay => "relay",
            Self::Projector => "projector",
            Self::QueryApi => "query-api",
            Self::OpsApi => "ops-api",
            Self::Nginx => "nginx",
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A cluster. [`Config::new`] is the topology that `make cluster` starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds `cluster.json` and, in `cluster/`, everything else.
    pub folder: PathBuf,
    /// The `comanda` binary.
    pub binary: PathBuf,
    /// The folder that `scripts/kafka-jars` fills.
    pub jars: PathBuf,
    /// The port that nginx listens on; `None` takes a free one and keeps it.
    pub port: Option<u16>,
    /// Partitions of the topic.
    pub partitions: u16,
    pub command_apis: u8,
    pub relays: u8,
    pub projectors: u8,
    pub query_apis: u8,
    pub ops_apis: u8,
    pub brokers: u8,
    /// Streaming standbys of the shards' first server.
    pub shard_standbys: u8,
    /// Streaming standbys of the read store.
    pub read_standbys: u8,
    /// Heap of each Kafka node.
    pub heap_mb: u16,
    /// Memory for pages of each PostgreSQL.
    pub shared_buffers_mb: u32,
    /// For tests: nothing is written through to the disk, so a power cut would take it all.
    pub throwaway: bool,
    /// Whether the tenant `dev` gets an establishment and some products.
    pub seed: bool,
    /// Additional environment, per role.
    pub environment: Vec<(Role, String, String)>,
}

impl Config {
    pub fn new(folder: impl Into<PathBuf>, binary: impl Into<PathBuf>, jars: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            binary: binary.into(),
            jars: jars.into(),
            port: None,
            partitions: 64,
            command_apis: 2,
            relays: 2,
            projectors: 3,
            query_apis: 2,
            ops_apis: 1,
            brokers: 3,
            shard_standbys: 1,
            read_standbys: 2,
            heap_mb: 256,
            shared_buffers_mb: 64,
            throwaway: false,
            seed: true,
            environment: Vec::new(),
        }
    }

    /// The same topology for tests: few partitions, no waiting for disks, no tenant.
    pub fn throwaway(folder: impl Into<PathBuf>, binary: impl Into<PathBuf>, jars: impl Into<PathBuf>) -> Self {
        Self {
            partitions: 8,
            shared_buffers_mb: 32,
            throwaway: true,
            seed: false,
            ..Self::new(folder, binary, jars)
        }
    }

    /// The processes of the `comanda` binary: role and number, from 1.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (Role, u8)> {
        let counts = [
            (Role::CommandApi, self.command_apis),
            (Role::QueryApi, self.query_apis),
            (Role::OpsApi, self.ops_apis),
            (Role::Relay, self.relays),
            (Role::Projector, self.projectors),
        ];
        counts
            .into_iter()
            .flat_map(|(role, count)| (1..=count).map(move |number| (role, number)))
    }

    pub(crate) fn environment_of(&self, role: Role) -> Vec<(String, String)> {
        let its = self.environment.iter().filter(|(whose, ..)| *whose == role);
        its.map(|(_, name, value)| (name.clone(), value.clone())).collect()
    }
}
