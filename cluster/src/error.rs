//! Why a cluster does not start, or a part of it does not do what it is told.

use std::io;
use std::path::{Path, PathBuf};

/// Everything that goes wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a cluster runs on {} already (process {pid}); `make cluster-down` ends it", folder.display())]
    AlreadyRunning { folder: PathBuf, pid: u32 },
    #[error("{} is missing; {remedy}", path.display())]
    Missing { path: PathBuf, remedy: &'static str },
    #[error("a database server of the cluster failed")]
    Postgres(#[from] local_postgres::Error),
    #[error("a Kafka node of the cluster failed")]
    Kafka(#[from] local_kafka::Error),
    #[error("the databases were not prepared: {output}")]
    Migrate { output: String },
    #[error("no token was issued: {output}")]
    Token { output: String },
    #[error("{name} ended ({status}); its log, {}, ends:\n{tail}", log.display())]
    Died {
        name: String,
        status: String,
        log: PathBuf,
        tail: String,
    },
    #[error("{name} is not running")]
    NotRunning { name: String },
    #[error("{name} did not end within {seconds} s")]
    WillNotEnd { name: String, seconds: u64 },
    #[error("not ready after {seconds} s: {waiting_for}")]
    NotReady { seconds: u64, waiting_for: String },
    #[error("the cluster has no {0}")]
    NoSuch(String),
    #[error("a database does not answer")]
    Database(#[from] sqlx::Error),
    #[error("HTTP failed")]
    Http(#[from] reqwest::Error),
    #[error("the tenant dev was not seeded: {output}")]
    Seed { output: String },
    #[error("{} is not what this version writes", path.display())]
    Info {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("process {pid} of an earlier cluster does not end")]
    Leftover { pid: i32 },
    #[error("a task of the cluster was lost")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
