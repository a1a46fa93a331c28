//! What a cluster is started with.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// A cluster of `nodes` on one machine.
#[derive(Debug, Clone)]
pub struct Config {
    /// Holds everything of the cluster; kept between starts.
    pub folder: PathBuf,
    /// The folder that `scripts/kafka-jars` fills.
    pub jars: PathBuf,
    pub nodes: u8,
    /// Copies of a partition where a topic does not say.
    pub replication: u8,
    /// Copies that must have a record before it is acknowledged (`acks=all`).
    pub min_insync: u8,
    /// Heap of each node. Below 192 MiB a node does not run reliably.
    pub heap_mb: u16,
    /// After this long without a sign of life a broker is given up and its partitions move.
    pub broker_session: Duration,
    /// A further listener with TLS and SASL/SCRAM; without it there is only the open one.
    pub secure: Option<Secure>,
}

/// A listener that speaks TLS and asks for a name and a password (SASL/SCRAM-SHA-512).
#[derive(Debug, Clone)]
pub struct Secure {
    /// PEM: the private key (PKCS#8) and the certificate chain of the brokers.
    pub key_and_certificate: PathBuf,
    pub username: String,
    pub password: String,
}

impl Config {
    /// Replicated to up to three nodes, one of which may be away.
    pub fn new(folder: impl Into<PathBuf>, jars: impl Into<PathBuf>, nodes: u8) -> Self {
        let replication = nodes.min(3);
        Self {
            folder: folder.into(),
            jars: jars.into(),
            nodes,
            replication,
            min_insync: replication.saturating_sub(1).max(1),
            heap_mb: 256,
            broker_session: Duration::from_secs(6),
            secure: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let sound = (1..=9).contains(&self.nodes)
            && (1..=self.nodes).contains(&self.replication)
            && (1..=self.replication).contains(&self.min_insync);
        if sound { Ok(()) } else { Err(Error::Topology) }
    }
}
