//! What can go wrong with a projector.

/// Why a projector could not start, or a batch not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Applied half by one version and half by another, a read model would be neither.
    #[error(
        "generation {generation} of read model {read_model} was filled by version {stored} of its projection and \
         this binary has version {code}: keep a projector of the binary that filled it, and rebuild the read model \
         with this one: comanda projections rebuild {read_model}"
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
    #[error("there is no read model {name}; there are {known}")]
    UnknownReadModel { name: String, known: String },
    #[error("no generation of read model {0} is served that this binary has the code of")]
    NotServed(String),
    #[error("read model {read_model} has no generation {generation}: see comanda projections list")]
    NoGeneration { read_model: String, generation: i32 },
    /// Somebody else's, and alive: it renewed its lease while it was watched.
    #[error(
        "generation {generation} of read model {read_model} is being filled by {holder}: wait for it, or end it first"
    )]
    RebuildRunning {
        read_model: String,
        generation: i32,
        holder: String,
    },
    #[error("somebody else has taken this rebuild over; it goes on there")]
    LeaseLost,
    #[error("slot {slot} cannot be filled: {why}")]
    Stopped {
        slot: event_store::Slot,
        why: crate::intake::Stopped,
    },
    #[error(
        "slot {slot} was restored or promoted since the rebuild began: begin again with \
         comanda projections rebuild --from scratch"
    )]
    Restored { slot: event_store::Slot },
    #[error("the position cannot be written")]
    Cursor(#[source] event_store::TokenError),
    #[error("the position {0} is not in the log: it lies beyond its end, or was lost in a restoration")]
    NotInLog(event_store::PositionToken),
    #[error(
        "generation {generation} of read model {read_model} is {events} events behind the one that is served, in \
         {slots} slots: wait until projectors have caught up, or rebuild"
    )]
    Behind {
        read_model: String,
        generation: i32,
        slots: i64,
        events: i64,
    },
    #[error("generation {generation} of read model {read_model} cannot be served: it is {state}")]
    NotSwitchable {
        read_model: String,
        generation: i32,
        state: String,
    },
    #[error("read model {0} has no other generation to switch to: see comanda projections list")]
    NothingToSwitchTo(String),
    #[error("read model {0} has no earlier generation that is still kept and fed: see comanda projections list")]
    NothingToRollBackTo(String),
    #[error("generation {generation} of read model {read_model} is served: switch to another one first")]
    Served { read_model: String, generation: i32 },
    #[error(
        "standbys have not replayed what was written {seconds} s ago, and may still read the generation: try again"
    )]
    StandbysBehind { seconds: u64 },
    #[error("the tables of generation {generation} of read model {read_model} are in use: try again")]
    InUse { read_model: String, generation: i32 },
    #[error("the read store failed")]
    Database(#[from] sqlx::Error),
    #[error("the log cannot be read")]
    Log(#[from] event_store::Error),
    #[error("the generation cannot be compared with the log")]
    Verify(#[from] verify::Error),
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
            Self::UnknownReadModel { .. }
            | Self::NotServed(_)
            | Self::NoGeneration { .. }
            | Self::RebuildRunning { .. }
            | Self::LeaseLost
            | Self::Stopped { .. }
            | Self::Restored { .. }
            | Self::Cursor(_)
            | Self::NotInLog(_)
            | Self::NotSwitchable { .. }
            | Self::NothingToSwitchTo(_)
            | Self::NothingToRollBackTo(_)
            | Self::Served { .. } => true,
            Self::NoCheckpoint { .. }
            | Self::Behind { .. }
            | Self::StandbysBehind { .. }
            | Self::InUse { .. }
            | Self::Database(_)
            | Self::Log(_)
            | Self::Verify(_)
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
