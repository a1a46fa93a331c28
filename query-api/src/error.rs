//! What can go wrong while a query is answered, and how each case looks to a client.
//!
//! Every error in a GraphQL answer carries `extensions.code`, one of [`Code`]; clients act on the
//! code, people read the message. Failures of the platform say nothing of their cause; the cause is
//! logged once, where the error is turned into the client's.

use async_graphql::{ErrorExtensions, ServerError};

use crate::read_model::ReadModel;

/// The stable `extensions.code` of a GraphQL error. `docs/graphql.md` tells clients of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request is not a GraphQL request: no query, a parameter of the wrong type, not JSON.
    BadRequest,
    /// An array of requests in one body. Send them one by one; they share the connection.
    BatchNotSupported,
    /// The document is not GraphQL. The error has the location.
    ParseFailed,
    /// The document does not fit the schema, or a variable does not fit its type.
    ValidationFailed,
    /// `operationName` names no operation of the document, or is missing where there are several.
    OperationNotFound,
    /// The operation exceeds a limit; `extensions` name it. Ask for less at a time.
    LimitExceeded,
    /// An argument is of the right type, but not a value that the field takes.
    BadUserInput,
    /// An id that is neither a global id of the right type nor a well-formed REST id.
    InvalidId,
    /// A cursor that this list did not hand out: garbage, or from a list with other arguments.
    InvalidCursor,
    /// The token is limited to other establishments.
    EstablishmentForbidden,
    /// The position in `Comanda-Position` was not reached in time. Send the request again.
    PositionNotReached,
    /// The log, which the past is read from, does not answer, or is not known to this process.
    HistoryUnavailable,
    /// Something failed on the platform's side.
    Internal,
}

impl Code {
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::BatchNotSupported,
        Self::ParseFailed,
        Self::ValidationFailed,
        Self::OperationNotFound,
        Self::LimitExceeded,
        Self::BadUserInput,
        Self::InvalidId,
        Self::InvalidCursor,
        Self::EstablishmentForbidden,
        Self::PositionNotReached,
        Self::HistoryUnavailable,
        Self::Internal,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::BatchNotSupported => "BATCH_NOT_SUPPORTED",
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::OperationNotFound => "OPERATION_RESOLUTION_FAILURE",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::InvalidId => "INVALID_ID",
            Self::InvalidCursor => "INVALID_CURSOR",
            Self::EstablishmentForbidden => "ESTABLISHMENT_FORBIDDEN",
            Self::PositionNotReached => "POSITION_NOT_REACHED",
            Self::HistoryUnavailable => "HISTORY_UNAVAILABLE",
            Self::Internal => "INTERNAL_SERVER_ERROR",
        }
    }
}

/// Why a query, or one field of it, has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client asked for something it cannot have; the message is for it.
    #[error("{message}")]
    Refused { code: Code, message: String },
    /// No connection to the read store, or it broke: another try may succeed.
    #[error("the read store does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// Every connection to the read store is taken.
    #[error("more queries arrive than the read store can answer")]
    Overloaded,
    /// No projector has created the read model yet, or its generation has just been dropped.
    #[error("the read model {0} is not there to be read")]
    NotReady(ReadModel),
    #[error("a statement on the read store failed")]
    Statement(#[source] sqlx::Error),
    /// What the past is read from.
    #[error("the log cannot be read")]
    Log(#[source] event_store::Error),
    #[error("the log does not answer in time")]
    LogTooSlow,
    #[error("this process knows no log")]
    NoLog,
    /// A row that this binary cannot show: written by a newer one, or damaged.
    #[error("a row of the read store cannot be shown: {0}")]
    Row(String),
}

impl Error {
    pub(crate) fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::refused(Code::BadUserInput, message)
    }

    /// Whether the whole request should be answered "not now" rather than field by field.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Overloaded | Self::NotReady(_) => true,
            // Other fields can be answered: the log is not the read store.
            Self::Log(_) | Self::LogTooSlow | Self::NoLog => false,
            Self::Refused { .. } | Self::Statement(_) | Self::Row(_) => false,
        }
    }

    /// Whether the past cannot be read now, though it may be later.
    fn is_history_outage(&self) -> bool {
        use event_store::Error as Store;
        match self {
            Self::LogTooSlow | Self::NoLog => true,
            Self::Log(error) => match error {
                Store::Unavailable { .. } | Store::NotOwned { .. } | Store::Overloaded { .. } => true,
                Store::Conflict { .. }
                | Store::Rejected { .. }
                | Store::Undecodable { .. }
                | Store::UnknownStream { .. }
                | Store::NotAStream { .. }
                | Store::UnknownShard(_)
                | Store::NotMoved { .. }
                | Store::Misconfigured(_) => false,
            },
            Self::Refused { .. }
            | Self::Unavailable(_)
            | Self::Overloaded
            | Self::NotReady(_)
            | Self::Statement(_)
            | Self::Row(_) => false,
        }
    }

    /// The error of one field as its client sees it.
    pub(crate) fn for_client(&self) -> async_graphql::Error {
        let (code, message) = match self {
            Self::Refused { code, message } => (*code, message.as_str()),
            past if past.is_history_outage() => (
                Code::HistoryUnavailable,
                "The past cannot be read at the moment; the present can.",
            ),
            Self::Unavailable(_)
            | Self::Overloaded
            | Self::NotReady(_)
            | Self::Log(_)
            | Self::LogTooSlow
            | Self::NoLog
            | Self::Statement(_)
            | Self::Row(_) => (Code::Internal, "This field could not be answered."),
        };
        async_graphql::Error::new(message).extend_with(|_, extensions| extensions.set("code", code.as_str()))
    }
}

/// An error of the whole request, without `data`.
pub(crate) fn request_error(code: Code, message: impl Into<String>) -> ServerError {
    let mut error = ServerError::new(message, None);
    set_code(&mut error, code);
    error
}

pub(crate) fn set_code(error: &mut ServerError, code: Code) {
    error.extensions.get_or_insert_default().set("code", code.as_str());
}

/// The code of an error that carries one.
pub(crate) fn code_of(error: &ServerError) -> Option<&str> {
    match error.extensions.as_ref()?.get("code")? {
        async_graphql::Value::String(code) => Some(code),
        _ => None,
    }
}
