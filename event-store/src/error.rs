//! What can go wrong with the log, by what the caller can do about it.

use std::sync::Arc;

use cqrs_es::AggregateError;
use domain::{DecodeError, Sequence, StreamId};

use crate::ids::{Position, ShardId, Slot};

/// The cause of an [`Error::Unavailable`]; shared, because one failure answers a whole batch.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The stream does not stand where the append expected: load again, decide again.
    #[error("stream {stream} is not at version {expected}")]
    Conflict { stream: StreamId, expected: Sequence },
    /// No shard that can be reached owns the slot just now: try again later. Nothing was stored.
    #[error("slot {slot} is owned by none of the shards")]
    NotOwned { slot: Slot },
    /// The shard's queue is full: nothing was stored.
    #[error("the event store is overloaded, retry after {retry_after_seconds} s")]
    Overloaded { retry_after_seconds: u64 },
    /// The shard cannot be reached, or refuses. Whether an append was stored is *unknown*: sending
    /// it again with the same ids settles it.
    #[error("the event store is unavailable: {reason}")]
    Unavailable {
        reason: &'static str,
        #[source]
        source: Option<Cause>,
    },
    /// PostgreSQL refused the data itself; sending it again is useless. Nothing was stored.
    #[error("events of {stream} cannot be stored: {reason}")]
    Rejected { stream: StreamId, reason: String },
    /// A stored event cannot be understood.
    #[error("event {sequence} of {stream} cannot be read")]
    Undecodable {
        stream: StreamId,
        sequence: Sequence,
        #[source]
        source: DecodeError,
    },
    /// A stored event belongs to a kind of stream that this binary does not know: a newer binary
    /// wrote it.
    #[error("position {position} holds a stream that this binary does not know: {aggregate_type} {aggregate_id}")]
    UnknownStream {
        aggregate_type: String,
        aggregate_id: String,
        position: Position,
    },
    /// The id is not one of a stream of this kind.
    #[error("{aggregate_id} does not name a stream of kind {aggregate_type}")]
    NotAStream {
        aggregate_type: &'static str,
        aggregate_id: String,
    },
    /// A slot stays where it is for now; the reason says what to do.
    #[error("slot {slot} was not moved: {reason}")]
    NotMoved { slot: Slot, reason: String },
    /// No such shard is configured.
    #[error("shard {0} is not configured")]
    UnknownShard(ShardId),
    /// The databases are not what the configuration says. An operator must look.
    #[error("{0}")]
    Misconfigured(String),
}

impl Error {
    pub(crate) fn unavailable(reason: &'static str, source: sqlx::Error) -> Self {
        Self::Unavailable {
            reason,
            source: Some(Arc::new(source)),
        }
    }

    /// A read that failed.
    pub(crate) fn read(source: sqlx::Error) -> Self {
        Self::unavailable("a shard could not be read", source)
    }

    /// Finds the event store's error inside what `cqrs-es` passed on.
    pub fn inside<E: std::error::Error>(error: &AggregateError<E>) -> Option<&Self> {
        match error {
            AggregateError::DatabaseConnectionError(boxed)
            | AggregateError::DeserializationError(boxed)
            | AggregateError::UnexpectedError(boxed) => boxed.downcast_ref(),
            AggregateError::UserError(_) | AggregateError::AggregateConflict => None,
        }
    }
}

impl<E: std::error::Error> From<Error> for AggregateError<E> {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict { .. } => Self::AggregateConflict,
            Error::NotOwned { .. } | Error::Overloaded { .. } | Error::Unavailable { .. } => {
                Self::DatabaseConnectionError(Box::new(error))
            }
            Error::Undecodable { .. } | Error::UnknownStream { .. } => Self::DeserializationError(Box::new(error)),
            Error::Rejected { .. }
            | Error::NotAStream { .. }
            | Error::NotMoved { .. }
            | Error::UnknownShard(_)
            | Error::Misconfigured(_) => Self::UnexpectedError(Box::new(error)),
        }
    }
}
