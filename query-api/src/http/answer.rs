//! GraphQL answers as bytes.

use std::collections::BTreeMap;

use async_graphql::{ServerError, Value};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::accept::MediaType;
use crate::api::{Answer, Standing};
use crate::position::COMANDA_POSITION;

#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ServerError>,
    /// Absent where nothing ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<&'static str, Value>,
}

/// A request that is no GraphQL request: 400 in either media type.
pub(super) fn malformed(media: MediaType, error: ServerError) -> Response {
    let body = Body {
        errors: vec![error],
        data: None,
        extensions: BTreeMap::new(),
    };
    respond(StatusCode::BAD_REQUEST, media, &body)
}

pub(super) fn render(media: MediaType, answer: Answer) -> Response {
    let status = match (answer.standing, media) {
        (Standing::Ran, _) | (Standing::NotRun, MediaType::Json) => StatusCode::OK,
        (Standing::NotRun, MediaType::GraphqlResponse) => StatusCode::BAD_REQUEST,
        (Standing::Forbidden, _) => StatusCode::FORBIDDEN,
        (Standing::Behind, _) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = Body {
        errors: answer.errors,
        data: answer.data,
        extensions: answer.extensions,
    };
    let mut response = respond(status, media, &body);
    let headers = response.headers_mut();
    if let Ok(position) = HeaderValue::try_from(answer.position.to_string()) {
        headers.insert(COMANDA_POSITION, position);
    }
    if answer.standing == Standing::Behind {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn respond(status: StatusCode, media: MediaType, body: &Body) -> Response {
    // Serialising strings and GraphQL values cannot fail.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut response = (status, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.as_str()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        VARY,
        HeaderValue::from_static("Accept, Authorization, Comanda-Position, Comanda-Generation"),
    );
    response
}
