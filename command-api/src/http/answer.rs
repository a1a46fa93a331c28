//! Answers: the headers that every one of them carries.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cqrs_es::Aggregate;
use domain::Sequence;
use event_store::PositionToken;
use serde::Serialize;

use super::headers::{IDEMPOTENT_REPLAYED, POSITION};
use crate::error::Error;
use crate::execute::Done;

/// The answer to a command: what it left behind, at the version it left it at.
pub(crate) fn of_command<A: Aggregate>(
    status: StatusCode,
    done: &Done<A>,
    body: Option<impl Serialize>,
) -> Result<Response, Error> {
    let body = body.ok_or_else(unreadable)?;
    let mut headers = HeaderMap::new();
    describe(&mut headers, done.version(), done.position());
    if done.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok((status, headers, Json(body)).into_response())
}

/// The answer to a `PUT` of a whole definition: 201 where it was the first.
pub(crate) fn of_definition<A: Aggregate>(done: &Done<A>, body: Option<impl Serialize>) -> Result<Response, Error> {
    let status = if done.opened() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    of_command(status, done, body)
}

/// The answer to a read, or 304 where the reader's copy is current.
pub(crate) fn of_read(
    request: &HeaderMap,
    version: Sequence,
    position: Option<PositionToken>,
    body: Option<impl Serialize>,
) -> Result<Response, Error> {
    let body = body.ok_or_else(unreadable)?;
    let mut headers = HeaderMap::new();
    describe(&mut headers, version, position);
    // Another tenant's token gets another answer, so nothing between may share it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if super::headers::is_current(request, version)? {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Json(body)).into_response())
}

fn describe(headers: &mut HeaderMap, version: Sequence, position: Option<PositionToken>) {
    headers.extend(
        HeaderValue::try_from(format!("\"{version}\""))
            .map(|tag| (header::ETAG, tag))
            .ok(),
    );
    headers.extend(
        position
            .and_then(|token| HeaderValue::try_from(token.to_string()).ok())
            .map(|token| (POSITION, token)),
    );
}

/// Events that were accepted always make something to show.
fn unreadable() -> Error {
    Error::Unexpected("stored events do not amount to something that can be shown".into())
}
