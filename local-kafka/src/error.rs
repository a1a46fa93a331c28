//! Why a local Kafka cannot be used.

use std::path::{Path, PathBuf};

use crate::node::NodeId;

/// `Display` says what is wrong, and what to do where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no Java was found: install Java 17 or later (Debian: openjdk-17-jre-headless), or set JAVA_HOME")]
    NoJava,
    #[error("Kafka's jars could not be brought: {reason}")]
    NoJars { reason: String },
    #[error("a cluster has 1 to 9 nodes, and min.insync <= replication <= nodes")]
    Topology,
    #[error("{} was made for {found} nodes, not {wanted}: give another folder, or remove it", folder.display())]
    OtherTopology {
        folder: PathBuf,
        found: usize,
        wanted: usize,
    },
    #[error("the storage of node {node} could not be formatted: {output}")]
    Format { node: NodeId, output: String },
    #[error("node {node} ended while it started; the end of {}:\n{tail}", log.display())]
    Died { node: NodeId, log: PathBuf, tail: String },
    #[error("node {node} was not ready after {seconds} s; see {}", log.display())]
    NotReady { node: NodeId, log: PathBuf, seconds: u64 },
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    #[error("node {0} is not running")]
    NotRunning(NodeId),
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// A node found its port taken by somebody who was quicker.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Died { tail, .. } if tail.contains("BindException") || tail.contains("Address already in use"))
    }
}
