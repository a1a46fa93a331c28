//! Bodies of requests, as axum extractors.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use super::{fingerprint, read_json};
use crate::problem::{Problem, code};

/// How much of a refused body is read and thrown away. A client that is still sending when the
/// connection closes may lose the answer that says why.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;

/// The largest body, as `http::harden` puts it on each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

impl Default for BodyLimit {
    fn default() -> Self {
        Self(1024 * 1024)
    }
}

/// A JSON body, typed and as received.
///
/// Refuses with 415 for another media type, 413 for too large a body, 400 for what is not JSON and
/// 422 for what is not a `T`.
#[derive(Debug, Clone)]
pub struct JsonBody<T> {
    pub value: T,
    pub raw: Bytes,
}

impl<T> JsonBody<T> {
    /// SHA-256 (hex) of the canonical JSON as received, before any default was filled in.
    ///
    /// # Errors
    /// None for a body that was extracted: what could fail has been checked.
    pub fn fingerprint(&self) -> Result<String, Problem> {
        Ok(fingerprint(&self.raw)?)
    }
}

impl<T, S> FromRequest<S> for JsonBody<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let RawJson(raw) = RawJson::from_request(request, state).await?;
        Ok(Self {
            value: read_json(&raw)?,
            raw,
        })
    }
}

/// The bytes of a body whose media type is JSON, within the limit; not yet looked at.
#[derive(Debug, Clone)]
pub struct RawJson(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawJson {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let limit = request.extensions().get::<BodyLimit>().copied().unwrap_or_default().0;
        if is_json(request.headers()) {
            return Ok(Self(read(request.into_body(), limit).await?));
        }
        discard(request.into_body()).await;
        Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::UNSUPPORTED_MEDIA_TYPE,
            "The body must be sent as `Content-Type: application/json`, in UTF-8.",
        ))
    }
}

/// `application/json`, or a type built on it; where a charset is named, UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str).and_then(Result::ok) else {
        return false;
    };
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    let utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .all(|(name, value)| {
            !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    json && utf8
}

async fn read(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // The client went away, or its framing is broken; there is nobody to answer in detail.
        let frame =
            frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, code::BAD_REQUEST, "The body was cut off."))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            drop(read);
            discard(body).await;
            return Err(Problem::payload_too_large(limit));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Reads what the client is still sending, within bounds, and keeps none of it. The request's time
/// limit bounds the time.
pub(crate) async fn discard(mut body: Body) {
    let mut discarded = 0;
    while discarded < MAX_DISCARDED_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}
