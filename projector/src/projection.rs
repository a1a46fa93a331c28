//! What a read model is made of: the contract of a [`Projection`].
//!
//! To add a read model: one migration with its `meta.create_<name>` function, one file in
//! `projections/` implementing [`Projection`], one line in [`crate::registry`].

use std::fmt;
use std::future::Future;

use domain::{AggregateType, Event, Metadata, OrderId, Sequence, StreamId, Timestamp};
use sqlx::PgConnection;

/// One event as a projection sees it: content and place in its stream, nothing about delivery.
#[derive(Debug, Clone, Copy)]
pub struct StreamEvent<'a> {
    pub stream: &'a StreamId,
    pub sequence: Sequence,
    pub event: &'a Event,
    pub metadata: &'a Metadata,
    /// When the log recorded it.
    pub recorded_at: Timestamp,
}

impl StreamEvent<'_> {
    /// The order that the stream is.
    ///
    /// # Errors
    /// [`FoldError::NotAnOrder`] where the stream's id is no order id.
    pub fn order_id(&self) -> Result<OrderId, FoldError> {
        order_id(self.stream).ok_or(FoldError::NotAnOrder)
    }
}

/// The order that a stream is; `None` where its id is no order id (such a stream has no rows).
pub(crate) fn order_id(stream: &StreamId) -> Option<OrderId> {
    stream.id().parse().ok()
}

/// One stream's rows: as the read store has them, and as they are to be.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a, S> {
    pub stream: &'a StreamId,
    pub before: Option<&'a S>,
    pub after: &'a S,
}

/// A deterministic function of the log that keeps one read model.
///
/// It reads no clock, draws no random number and does no I/O but on its own rows. It folds each
/// stream into that stream's rows; what it adds to rows shared by several streams (a day's sales)
/// it adds as the difference between the contribution of `after` and that of `before`. A stream
/// belongs to one tenant, hence to one slot, and rows shared by streams never cross tenants, so no
/// two projectors that hold different slots ever touch the same row.
pub trait Projection: Clone + Send + Sync + 'static {
    /// The read model's name: its key in `meta.*` and the stem of its schema.
    const NAME: &'static str;
    /// Raised whenever the same log would fold to other rows. A generation filled by another
    /// version is refused, because its rows would be half one fold and half another.
    const CODE_VERSION: i32;

    /// What is known of one stream: enough to fold its next event and to write its rows.
    type State: Clone + fmt::Debug + Send + Sync + 'static;

    /// Whether streams of this kind concern the read model.
    fn reads(&self, kind: AggregateType) -> bool;

    /// Folds one event. Pure.
    ///
    /// # Errors
    /// [`FoldError`] where the event cannot follow `before`: the stream is parked from here on.
    fn fold(&self, before: Option<&Self::State>, event: &StreamEvent<'_>) -> Result<Self::State, FoldError>;

    /// What to remember of a stream whose rows were committed; `None` to load it again next time.
    fn settled(&self, state: Self::State) -> Option<Self::State> {
        Some(state)
    }

    /// Reads the states of streams from their rows, each with its index in `streams`. Streams
    /// without rows are left out.
    fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> impl Future<Output = Result<Vec<(usize, Self::State)>, sqlx::Error>> + Send;

    /// Writes the rows of several streams, set-based.
    fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, Self::State>],
    ) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// The schema of one generation, as it stands quoted in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(String);

impl Schema {
    /// `None` for a name that is not plain lower case, digits and underscores: generations never
    /// have one, so it did not come from us and must not reach a statement.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        (!name.is_empty() && name.len() < 64 && name.bytes().all(plain)).then(|| Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// Why an event cannot be folded. Always the event's fault: the same event fails again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("event {found} follows {last}")]
    OutOfOrder { last: Sequence, found: Sequence },
    #[error("the stream does not begin with the event that creates it")]
    NotCreated,
    #[error("the stream is created twice")]
    CreatedTwice,
    #[error("the stream's id is not an order id")]
    NotAnOrder,
    #[error("the order has no number")]
    NoNumber,
    #[error("the event leaves status {claimed}, but the order is {actual}")]
    OtherStatus { claimed: String, actual: String },
    #[error("{0} is too large")]
    TooLarge(&'static str),
    #[error("a stream of this kind holds no such event")]
    Foreign,
    #[error("{0}")]
    Other(String),
}

/// Checks that an event is the one after `last`.
pub(crate) fn follows(last: Sequence, event: &StreamEvent<'_>) -> Result<(), FoldError> {
    if last.next() == event.sequence {
        Ok(())
    } else {
        Err(FoldError::OutOfOrder {
            last,
            found: event.sequence,
        })
    }
}

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The rows contradict what is stored; the events at fault are found and their streams parked.
    #[error("{0}")]
    Contradiction(&'static str),
    #[error("the read store refused a statement")]
    Database(#[from] sqlx::Error),
}

impl WriteError {
    /// Whether the rows themselves are to blame: trying the same rows again cannot help.
    pub(crate) fn blames_rows(&self) -> bool {
        match self {
            Self::Contradiction(_) => true,
            // 22: data exceptions such as a sum out of range. 23: constraint violations. 54: a value
            // too large for its column or index.
            Self::Database(sqlx::Error::Database(error)) => error
                .code()
                .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class))),
            Self::Database(_) => false,
        }
    }

    /// Why, in one line, for whoever looks at a parked stream.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Contradiction(why) => (*why).to_owned(),
            Self::Database(error) => error.to_string(),
        }
    }
}
