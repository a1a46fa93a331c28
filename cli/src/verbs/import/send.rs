//! Sends one order and judges the answer.
//!
//! Every attempt carries the same id, key and body, so an order is stored once however often it is
//! sent: an answer that was lost is settled by sending again.

use std::time::{Duration, Instant};

use domain::Money;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::order::Outgoing;
use crate::rest::{Problem, Reply, Rest, RestError};

/// How long the platform may be away before the import gives up. A restart of the process or of
/// its database is shorter.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How often an order is tried that the platform fails on (500) rather than puts off.
const MAX_FAILURES: u32 = 3;

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Outcome {
    New {
        total: Money,
    },
    AlreadyThere {
        total: Money,
    },
    /// It stands there with other content; the pointers name what differs.
    Changed {
        differences: Vec<String>,
    },
    Refused(Problem),
}

/// Why the import as a whole stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the platform has not taken an order for {} seconds: {last}", PATIENCE.as_secs())]
    Unavailable { last: String, source: Option<RestError> },
    #[error("the platform refuses the import: {0}")]
    Forbidden(Problem),
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error("the platform's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// The part of a stored order that the summary needs.
#[derive(Debug, Deserialize)]
struct Total {
    total: Money,
}

pub(crate) async fn send(rest: &Rest, order: &Outgoing) -> Result<Outcome, SendError> {
    let body = serde_json::to_vec(&order.body).map_err(SendError::Unreadable)?;
    let key = order.idempotency_key();
    let headers = [("idempotency-key", key.as_str())];
    let (reply, unknown_before) =
        persist(|| rest.send(Method::POST, "/v1/orders", &headers, Some(body.clone()))).await?;
    match reply.status {
        StatusCode::CREATED => {
            let total = total_of(&reply.body)?;
            // A replay after an attempt whose answer was lost is most likely that attempt's.
            let replayed = reply.headers.contains_key("idempotent-replayed") && !unknown_before;
            Ok(if replayed {
                Outcome::AlreadyThere { total }
            } else {
                Outcome::New { total }
            })
        }
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => judge_existing(rest, order, reply.problem()).await,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(SendError::Forbidden(reply.problem())),
        _ => Ok(Outcome::Refused(reply.problem())),
    }
}

/// The id is taken. By the same order under another date, or by one that says something else?
async fn judge_existing(rest: &Rest, order: &Outgoing, problem: Problem) -> Result<Outcome, SendError> {
    if !matches!(problem.code(), "order_exists" | "idempotency_key_reused") {
        return Ok(Outcome::Refused(problem));
    }
    let path = format!("/v1/orders/{}", order.body.id);
    let (reply, _) = persist(|| rest.send(Method::GET, &path, &[], None)).await?;
    if reply.status != StatusCode::OK {
        return Ok(Outcome::Refused(reply.problem()));
    }
    let stored: Value = serde_json::from_slice(&reply.body).map_err(SendError::Unreadable)?;
    let differences = order.differences(&stored).map_err(SendError::Unreadable)?;
    if differences.is_empty() {
        return Ok(Outcome::AlreadyThere {
            total: total_of(&reply.body)?,
        });
    }
    Ok(Outcome::Changed { differences })
}

fn total_of(body: &[u8]) -> Result<Money, SendError> {
    serde_json::from_slice::<Total>(body)
        .map(|order| order.total)
        .map_err(SendError::Unreadable)
}

/// Repeats a request while the answer is 429, 5xx or none at all, waiting as the server asks, and
/// returns the first other answer with whether an earlier attempt's outcome is unknown. An order
/// that the platform keeps failing on must not stop the others, so a 500 is final in the end.
async fn persist<F>(mut attempt: impl FnMut() -> F) -> Result<(Reply, bool), SendError>
where
    F: Future<Output = Result<Reply, RestError>>,
{
    let started = Instant::now();
    let mut backoff = Duration::from_millis(100);
    let mut unknown = false;
    let mut failures = 0;
    loop {
        let (asked, last, source) = match attempt().await {
            Ok(reply) if reply.status != StatusCode::TOO_MANY_REQUESTS && !reply.status.is_server_error() => {
                return Ok((reply, unknown));
            }
            Ok(reply) => {
                unknown |= reply.status.is_server_error();
                failures += u32::from(reply.status == StatusCode::INTERNAL_SERVER_ERROR);
                if failures >= MAX_FAILURES {
                    return Ok((reply, unknown));
                }
                (reply.retry_after(), reply.problem().to_string(), None)
            }
            Err(error @ RestError::NoAnswer { .. }) => {
                unknown = true;
                (None, error.to_string(), Some(error))
            }
            Err(error) => return Err(error.into()),
        };
        if started.elapsed() > PATIENCE {
            return Err(SendError::Unavailable { last, source });
        }
        // Spread out, or all orders under way would come back in the same instant.
        let jitter = rand::random_range(0.5..1.5);
        tokio::time::sleep(asked.unwrap_or_default().max(backoff.mul_f64(jitter))).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}
