//! What can go wrong with a projector.

/// Why a projector could not start, or a batch not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Applied half by one version and half by another, a read model would be neither.
    #[error(
        "generation {generation} of read model {read_model} was filled by version {stored} of its projection and \
         this binary has version {code}: run the binary that filled it, or rebuild the read model"
    )]
    OtherCodeVersion {
        read_model: &'static str,
        generation: i32,
        stored: i32,
        code: i32,
    },
    #[error("a generation's schema is called {schema_name:?}, which no projector would name it")]
    SchemaName { schema_name: String },
    #[error("a checkpoint is missing: read model {read_model}, slot {slot}; was its generation dropped?")]
    NoCheckpoint {
        read_model: &'static str,
        slot: event_store::Slot,
    },
    #[error("the read store failed")]
    Database(#[from] sqlx::Error),
    #[error("the log cannot be read")]
    Log(#[from] event_store::Error),
    #[error("the topic cannot be read")]
    Kafka(#[from] relay::Error),
    #[error("the shard's publishing cannot be read")]
    Published(#[source] sqlx::Error),
    #[error("shard {0} does not answer")]
    ShardTimedOut(event_store::ShardId),
    #[error("the read store did not answer within {seconds} s")]
    TimedOut { seconds: u64 },
}

impl Error {
    /// Whether trying again is useless until somebody has done something.
    pub(crate) fn needs_an_operator(&self) -> bool {
        match self {
            Self::OtherCodeVersion { .. } | Self::SchemaName { .. } => true,
            Self::Kafka(error) => error.is_final(),
            Self::NoCheckpoint { .. }
            | Self::Database(_)
            | Self::Log(_)
            | Self::Published(_)
            | Self::ShardTimedOut(_)
            | Self::TimedOut { .. } => false,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
