//! Every way a request is not answered as asked, and the HTTP status of each. The only place where
//! a refusal becomes a status; what each code asks of the client stands in `docs/errors.md`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::establishment::EstablishmentError;
use domain::order::OrderError;
use domain::order::pricing::PricingError;
use domain::product::ProductError;
use domain::{Currency, EstablishmentId, Refusal, Sequence};
use service::problem::Problem;

/// Codes of this crate's own refusals. Those of rules come from the domain.
pub(crate) mod code {
    pub(crate) const ALREADY_EXISTS: &str = "already_exists";
    pub(crate) const CONTENTION: &str = "contention";
    pub(crate) const CURRENCY_MISMATCH: &str = "currency_mismatch";
    pub(crate) const ESTABLISHMENT_NOT_FOUND: &str = "establishment_not_found";
    pub(crate) const ESTABLISHMENT_REQUIRED: &str = "establishment_required";
    pub(crate) const IDEMPOTENCY_KEY_REUSED: &str = "idempotency_key_reused";
    pub(crate) const INVALID_CURSOR: &str = "invalid_cursor";
    pub(crate) const ORDER_EXISTS: &str = "order_exists";
    pub(crate) const ORDER_NOT_FOUND: &str = "order_not_found";
    pub(crate) const PRODUCT_NOT_FOUND: &str = "product_not_found";
    pub(crate) const STALE_VERSION: &str = "stale_version";
    pub(crate) const TOO_MANY_STREAMS: &str = "too_many_streams";
    pub(crate) const UNKNOWN_ESTABLISHMENT: &str = "unknown_establishment";
    pub(crate) const VERSION_NOT_FOUND: &str = "version_not_found";
}

/// A thing that a path names and the tenant does not have. Another tenant's is no different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Order,
    Product,
    Establishment,
}

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Judged at the edge: syntax, headers, rights.
    #[error("{0}")]
    Edge(Problem),
    #[error("{0:?} does not exist")]
    NotFound(Missing),
    #[error("{0}")]
    Order(OrderError),
    #[error("{0}")]
    Product(ProductError),
    #[error("{0}")]
    Establishment(EstablishmentError),
    #[error("{} items cannot be priced", .0.len())]
    Pricing(Vec<PricingError>),
    #[error("establishment {0} does not exist")]
    UnknownEstablishment(EstablishmentId),
    #[error("the price is in {found}, the establishment's currency is {expected}")]
    CurrencyMismatch { found: Currency, expected: Currency },
    #[error("the token names no single establishment and the body names none")]
    EstablishmentRequired,
    #[error("the key was used with another body")]
    KeyReused,
    #[error("the order exists with another body")]
    OrderExists,
    #[error("the stored version is {current}")]
    StaleVersion { current: Sequence },
    #[error("it exists already, at version {current}")]
    AlreadyExists { current: Sequence },
    #[error("the versions go up to {current}")]
    NoSuchVersion { current: Sequence },
    #[error("too many others changed the same thing at once")]
    Contention,
    #[error("the cursor was not given out by this log")]
    InvalidCursor,
    #[error("the event store failed")]
    Store(#[source] event_store::Error),
    #[error("{0}")]
    Unexpected(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Whether it was judged by what the stream or the catalogue held. Such a refusal stands only
    /// once it was judged by the log itself, and a stored answer goes before it.
    pub(crate) fn is_judgement(&self) -> bool {
        match self {
            Self::NotFound(_)
            | Self::Order(_)
            | Self::Product(_)
            | Self::Establishment(_)
            | Self::Pricing(_)
            | Self::UnknownEstablishment(_)
            | Self::CurrencyMismatch { .. }
            | Self::StaleVersion { .. }
            | Self::AlreadyExists { .. } => true,
            Self::Edge(_)
            | Self::EstablishmentRequired
            | Self::KeyReused
            | Self::OrderExists
            | Self::NoSuchVersion { .. }
            | Self::Contention
            | Self::InvalidCursor
            | Self::Store(_)
            | Self::Unexpected(_) => false,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Edge(problem)
    }
}

impl From<OrderError> for Error {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::NotFound => Self::NotFound(Missing::Order),
            OrderError::AlreadyPlaced => Self::OrderExists,
            other => Self::Order(other),
        }
    }
}

impl From<ProductError> for Error {
    fn from(error: ProductError) -> Self {
        match error {
            ProductError::NotFound => Self::NotFound(Missing::Product),
            other => Self::Product(other),
        }
    }
}

impl From<EstablishmentError> for Error {
    fn from(error: EstablishmentError) -> Self {
        Self::Establishment(error)
    }
}

impl From<event_store::Error> for Error {
    fn from(error: event_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        problem(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        problem(self).into_response()
    }
}

fn problem(error: Error) -> Problem {
    let detail = sentence(&error);
    match error {
        Error::Edge(problem) => problem,
        Error::NotFound(missing) => not_found(missing),
        Error::Order(error) => order(&error),
        Error::Product(error) => unprocessable(&error),
        Error::Establishment(error) => unprocessable(&error),
        Error::Pricing(errors) => pricing(&errors),
        Error::UnknownEstablishment(_) => {
            refusal(422, code::UNKNOWN_ESTABLISHMENT, &detail).with_error("/establishment_id", &detail)
        }
        Error::CurrencyMismatch { .. } => {
            refusal(422, code::CURRENCY_MISMATCH, &detail).with_error("/price/currency", &detail)
        }
        Error::EstablishmentRequired => refusal(422, code::ESTABLISHMENT_REQUIRED, &detail)
            .with_error("/establishment_id", "is required with this token"),
        Error::KeyReused => refusal(422, code::IDEMPOTENCY_KEY_REUSED, &detail),
        Error::OrderExists => refusal(409, code::ORDER_EXISTS, &detail),
        Error::StaleVersion { current } => refusal(412, code::STALE_VERSION, &detail).with("version", current.0),
        Error::AlreadyExists { current } => refusal(412, code::ALREADY_EXISTS, &detail).with("version", current.0),
        Error::NoSuchVersion { current } => refusal(404, code::VERSION_NOT_FOUND, &detail).with("version", current.0),
        Error::Contention => refusal(503, code::CONTENTION, &detail).retry_after(1),
        Error::InvalidCursor => refusal(400, code::INVALID_CURSOR, &detail),
        Error::Store(error) => store(&error),
        Error::Unexpected(error) => {
            tracing::error!(error = %error, "a request failed unexpectedly");
            Problem::internal()
        }
    }
}

/// The domain words its errors as fragments; a `detail` is for people.
fn sentence(error: &dyn std::error::Error) -> String {
    let fragment = error.to_string();
    let mut letters = fragment.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

fn refusal(status: u16, code: &'static str, detail: &str) -> Problem {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    Problem::new(status, code, detail)
}

fn not_found(missing: Missing) -> Problem {
    let (code, detail) = match missing {
        Missing::Order => (code::ORDER_NOT_FOUND, "There is no such order."),
        Missing::Product => (code::PRODUCT_NOT_FOUND, "There is no such product."),
        Missing::Establishment => (code::ESTABLISHMENT_NOT_FOUND, "There is no such establishment."),
    };
    refusal(404, code, detail)
}

fn order(error: &OrderError) -> Problem {
    match error {
        OrderError::IllegalTransition { current, allowed, .. } => {
            let allowed: Vec<_> = allowed.iter().map(|status| status.as_str()).collect();
            refusal(409, error.code(), &sentence(error))
                .with("current_status", current.as_str())
                .with("allowed", allowed)
        }
        other => unprocessable(other),
    }
}

fn unprocessable(error: &impl Refusal) -> Problem {
    let problem = refusal(422, error.code(), &sentence(error));
    match error.pointer() {
        Some(pointer) => problem.with_error(pointer, error.to_string()),
        None => problem,
    }
}

/// Every item at fault is named; the code is the first one's.
fn pricing(errors: &[PricingError]) -> Problem {
    let code = errors.first().map_or("invalid_items", Refusal::code);
    let problem = refusal(422, code, "Not every item can be priced; `errors` names each at fault.");
    errors.iter().fold(problem, |problem, error| {
        problem.with_error(error.pointer().unwrap_or_default(), error.to_string())
    })
}

fn store(error: &event_store::Error) -> Problem {
    use event_store::Error as Store;
    match error {
        Store::Conflict { .. } => problem(Error::Contention),
        Store::Overloaded { retry_after_seconds } => {
            Problem::overloaded().retry_after(u32::try_from(*retry_after_seconds).unwrap_or(u32::MAX))
        }
        Store::NotOwned { .. } | Store::Unavailable { .. } => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the event store did not take part in a request"
            );
            Problem::unavailable()
        }
        Store::Rejected { .. }
        | Store::Undecodable { .. }
        | Store::UnknownStream { .. }
        | Store::NotAStream { .. }
        | Store::NotMoved { .. }
        | Store::UnknownShard(_)
        | Store::Misconfigured(_) => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the event store failed a request"
            );
            Problem::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_full_queue_then_the_client_is_told_when_to_come_back() {
        let answer = problem(Error::Store(event_store::Error::Overloaded { retry_after_seconds: 7 }));
        assert_eq!((answer.status().as_u16(), answer.code()), (503, "overloaded"));
        assert_eq!(answer.into_response().headers()["retry-after"], "7");
    }

    #[test]
    fn given_an_unreachable_shard_then_nothing_internal_is_told() {
        let reason = "password authentication failed for 10.0.0.7";
        let answer = problem(Error::Store(event_store::Error::Unavailable { reason, source: None }));
        assert_eq!((answer.status().as_u16(), answer.code()), (503, "unavailable"));
        assert!(!answer.detail().contains("10.0.0.7"));
        assert!(answer.into_response().headers().contains_key("retry-after"));
    }

    #[test]
    fn given_an_illegal_transition_then_the_ways_out_are_named() {
        use domain::order::OrderStatus::{Accepted, Completed, Placed};
        let refused = OrderError::IllegalTransition {
            current: Placed,
            requested: Completed,
            allowed: vec![Accepted],
        };
        let answer = serde_json::to_value(problem(refused.into())).unwrap();
        assert_eq!(answer["status"], 409);
        assert_eq!(answer["current_status"], "placed");
        assert_eq!(answer["allowed"], serde_json::json!(["accepted"]));
    }
}
