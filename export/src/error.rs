//! What can go wrong with an export or a replay, by what the reader can do about it.

use std::io;
use std::path::{Path, PathBuf};

use event_store::Cursor;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] event_store::Error),
    /// A file cannot be written or read.
    #[error("{}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A table cannot be written.
    #[error("{} cannot be written as Parquet", path.display())]
    Parquet {
        path: PathBuf,
        source: parquet::errors::ParquetError,
    },
    /// The folder holds an export, or something else.
    #[error("{} is not empty: go on with what is there with --resume, or name another folder", .0.display())]
    NotEmpty(PathBuf),
    /// There is nothing to go on with.
    #[error("{} holds no export to resume: leave out --resume", .0.display())]
    NothingToResume(PathBuf),
    /// Mixing two would be neither.
    #[error("the export in {} was begun with {theirs}, not with {ours}: give the same again, or name another folder", path.display())]
    OtherExport {
        path: PathBuf,
        theirs: String,
        ours: String,
    },
    /// Another process exports into the folder.
    #[error("another export is writing to {}", .0.display())]
    Busy(PathBuf),
    /// What the folder says of itself is not so.
    #[error("{}: {reason}; name another folder and export anew", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// Nobody reads what is written (`| head`).
    #[error("nobody reads any more")]
    Closed,
    /// Kafka cannot be written to.
    #[error("Kafka: {action}")]
    Kafka {
        action: &'static str,
        source: rdkafka::error::KafkaError,
    },
    /// Kafka's settings, or the topic, are not as they must be.
    #[error("{0}")]
    Settings(String),
    /// The receiver of a replay does not want it.
    #[error("{url} answers {answer}")]
    Refused { url: String, answer: String },
    /// The receiver of a replay was away for too long.
    #[error("{url} could not be reached for {seconds} s: {reason}")]
    Unreachable { url: String, seconds: u64, reason: String },
    /// A task of this process ended.
    #[error("a task ended unexpectedly")]
    Ended,
    /// As the cause, with where to go on.
    #[error("stopped: go on with --after {cursor}")]
    Stopped {
        cursor: Box<Cursor>,
        #[source]
        source: Box<Error>,
    },
}

/// Of a stream that is written to.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::file(Path::new("the output"))(error)
    }
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| match source.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::File {
                path: path.to_owned(),
                source,
            },
        }
    }

    pub(crate) fn kafka(action: &'static str) -> impl FnOnce(rdkafka::error::KafkaError) -> Self {
        move |source| Self::Kafka { action, source }
    }
}
