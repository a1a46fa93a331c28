//! Bounds around every request: how many at once, how long, how large; and no failure that
//! answers with anything but a problem document.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;

use super::observe::observe;
use crate::json::{self, BodyLimit};
use crate::problem::{Problem, code};
use crate::settings::HttpSettings;
use crate::telemetry::name;

/// The longest plain-text error that is turned into a problem document.
const MAX_PLAIN_ERROR_BYTES: usize = 4_096;

/// Puts the bounds of the settings around a complete router: request id, log line and metrics,
/// load shedding, time limit, body limit, panics, and 404/405 as problem documents.
///
/// Call it once, on the outermost router, after every route has been added.
pub fn harden(router: Router, settings: &HttpSettings) -> Router {
    let bounds = Bounds {
        in_flight: Arc::new(Semaphore::new(settings.max_in_flight)),
        timeout: settings.request_timeout(),
        max_body_bytes: settings.max_body_bytes,
    };
    router
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(settings.max_body_bytes))
        .layer(from_fn_with_state(bounds, guard))
        .layer(from_fn_with_state(settings.slow_request(), observe))
}

/// Routes for those who watch the process. They answer under any load, or the watchers would take
/// a busy process for a dead one.
pub(super) fn is_operational(path: &str) -> bool {
    matches!(path, "/health" | "/health/live" | "/health/ready" | "/metrics")
}

#[derive(Clone)]
struct Bounds {
    in_flight: Arc<Semaphore>,
    timeout: Duration,
    max_body_bytes: usize,
}

async fn guard(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    // Refused at once rather than queued: a queue would only make every answer late.
    let _permit = if is_operational(request.uri().path()) {
        None
    } else if let Ok(permit) = bounds.in_flight.try_acquire() {
        Some(permit)
    } else {
        metrics::counter!(name::HTTP_REQUESTS_SHED).increment(1);
        return Problem::overloaded().into_response();
    };
    let answer = AssertUnwindSafe(answer(request, next, bounds.max_body_bytes)).catch_unwind();
    let response = match tokio::time::timeout(bounds.timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            // The panic hook has written where and why.
            metrics::counter!(name::HTTP_PANICS).increment(1);
            tracing::error!("a request's handler panicked");
            Problem::internal().into_response()
        }
        Err(_elapsed) => Problem::timeout().into_response(),
    };
    as_problem(response).await
}

async fn answer(mut request: Request, next: Next, max_body_bytes: usize) -> Response {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_body_bytes as u64) {
        // Whoever asks first has not sent the body; anyone else is still sending it.
        if !request.headers().contains_key(EXPECT) {
            json::discard(request.into_body()).await;
        }
        return Problem::payload_too_large(max_body_bytes).into_response();
    }
    request.extensions_mut().insert(BodyLimit(max_body_bytes));
    next.run(request).await
}

/// Errors that axum or a library made in plain text, as the problem documents that clients are
/// promised. Answers with a media type of their own pass unchanged.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let plain = response
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let Some(code) = plain.then(|| code_of(status)).flatten() else {
        return response;
    };
    let (mut parts, body) = response.into_parts();
    let text = plain_text(body).await;
    let detail = match text {
        // What a 5xx says of itself may be internal.
        Some(text) if status.is_client_error() => text,
        _ => status.canonical_reason().unwrap_or("Error").to_owned(),
    };
    let problem = Problem::new(status, code, detail).into_response();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.extend(problem.headers().clone());
    Response::from_parts(parts, problem.into_body())
}

fn code_of(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::BAD_REQUEST => Some(code::BAD_REQUEST),
        StatusCode::NOT_FOUND => Some(code::NOT_FOUND),
        StatusCode::METHOD_NOT_ALLOWED => Some(code::METHOD_NOT_ALLOWED),
        StatusCode::PAYLOAD_TOO_LARGE => Some(code::PAYLOAD_TOO_LARGE),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Some(code::UNSUPPORTED_MEDIA_TYPE),
        StatusCode::UNPROCESSABLE_ENTITY => Some(code::INVALID_BODY),
        StatusCode::INTERNAL_SERVER_ERROR => Some(code::INTERNAL),
        StatusCode::SERVICE_UNAVAILABLE => Some(code::UNAVAILABLE),
        _ => None,
    }
}

async fn plain_text(body: Body) -> Option<String> {
    let body = http_body_util::Limited::new(body, MAX_PLAIN_ERROR_BYTES)
        .collect()
        .await
        .ok()?
        .to_bytes();
    String::from_utf8(body.into()).ok().filter(|text| !text.is_empty())
}
