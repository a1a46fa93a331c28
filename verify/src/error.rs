//! What keeps read models from being verified. Differences are no error.

use domain::StreamId;
use event_store::{Slot, SlotPosition};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the read store cannot be read")]
    ReadStore(#[from] sqlx::Error),
    #[error("the log cannot be read")]
    Log(#[from] event_store::Error),
    #[error("nothing is known of a read model {read_model}; there are {known}")]
    UnknownReadModel { read_model: String, known: String },
    #[error("read model {read_model} has no generation {generation}; see `comanda projections list`")]
    UnknownGeneration { read_model: String, generation: i32 },
    #[error("read model {read_model} has no generation that is served; has the read store been migrated?")]
    NotServed { read_model: String },
    #[error("a generation's schema is called {schema:?}, which no projector would name it")]
    SchemaName { schema: String },
    /// The event says more than this binary understands, so what follows from it is unknown.
    #[error(
        "slot {slot} holds at position {slot_position} an event of {stream} that is newer than this binary; verify \
         with the binary that wrote it"
    )]
    NewerEvent {
        slot: Slot,
        slot_position: SlotPosition,
        stream: StreamId,
    },
    /// The read store kept cancelling a slot's snapshot.
    #[error("slot {slot} could not be read in one snapshot; verify against the primary")]
    Cancelled {
        slot: Slot,
        #[source]
        source: sqlx::Error,
    },
    #[error("a worker ended before its time")]
    Worker(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether the snapshot was given up for reasons that have passed: a standby cancels those that
    /// keep it from replaying.
    pub(crate) fn is_cancelled_snapshot(error: &sqlx::Error) -> bool {
        error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| code == "40001")
    }
}
