//! Errors as clients see them: RFC 9457 problem documents with a stable `code`.
//!
//! A problem carries only what its client may know. Whoever turns an internal error into one logs
//! the error there; nothing of it travels in the answer.

use std::fmt;

use ::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use ::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The codes that this crate itself answers with. Their meaning stands in `docs/errors.md`.
pub mod code {
    pub const BAD_REQUEST: &str = "bad_request";
    pub const DUPLICATE_KEY: &str = "duplicate_key";
    pub const ESTABLISHMENT_FORBIDDEN: &str = "establishment_forbidden";
    pub const INTERNAL: &str = "internal";
    pub const INVALID_BODY: &str = "invalid_body";
    pub const INVALID_PARAMETER: &str = "invalid_parameter";
    pub const INVALID_TOKEN: &str = "invalid_token";
    pub const INVALID_UTF8: &str = "invalid_utf8";
    pub const MALFORMED_JSON: &str = "malformed_json";
    pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";
    pub const MISSING_SCOPE: &str = "missing_scope";
    pub const NOT_FOUND: &str = "not_found";
    pub const OVERLOADED: &str = "overloaded";
    pub const PAYLOAD_TOO_LARGE: &str = "payload_too_large";
    pub const TIMEOUT: &str = "timeout";
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    pub const UNAVAILABLE: &str = "unavailable";
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "unsupported_media_type";

    /// Each code with its status, so that a test can hold the documentation to it.
    pub const ALL: &[(&str, u16)] = &[
        (BAD_REQUEST, 400),
        (DUPLICATE_KEY, 400),
        (ESTABLISHMENT_FORBIDDEN, 403),
        (INTERNAL, 500),
        (INVALID_BODY, 422),
        (INVALID_PARAMETER, 400),
        (INVALID_TOKEN, 401),
        (INVALID_UTF8, 400),
        (MALFORMED_JSON, 400),
        (METHOD_NOT_ALLOWED, 405),
        (MISSING_SCOPE, 403),
        (NOT_FOUND, 404),
        (OVERLOADED, 503),
        (PAYLOAD_TOO_LARGE, 413),
        (TIMEOUT, 503),
        (UNAUTHENTICATED, 401),
        (UNAVAILABLE, 503),
        (UNSUPPORTED_MEDIA_TYPE, 415),
    ];
}

/// Where clients read what a code means and what to do next.
const DOCUMENTATION: &str = "/docs/errors";

/// Members that RFC 9457 or [`Problem`] define; [`Problem::with`] cannot replace them.
const RESERVED: [&str; 6] = ["type", "title", "status", "code", "detail", "errors"];

/// A refusal or failure as its client sees it.
#[derive(Clone)]
pub struct Problem(Box<Document>);

#[derive(Clone)]
struct Document {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    extensions: Vec<(&'static str, Value)>,
    headers: HeaderMap,
}

/// One part of the request that is to blame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request's body.
    pub pointer: String,
    pub detail: String,
}

impl Problem {
    /// `detail` is for people and must hold nothing that the client may not know.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Document {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            extensions: Vec::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// Names a part of the body that is to blame, by JSON pointer.
    #[must_use]
    pub fn with_error(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.0.errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }

    /// Adds an extension member, such as `current_status`. Members that the document defines
    /// itself stay as they are.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        if !RESERVED.contains(&key) {
            self.0.extensions.retain(|(existing, _)| *existing != key);
            self.0.extensions.push((key, value.into()));
        }
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Tells the client when to try again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code::NOT_FOUND,
            "There is nothing here under this name.",
        )
    }

    /// A failure that is ours. Log the cause where this is made; the client is told nothing of it.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code::INTERNAL,
            "Something failed on our side; the request may or may not have taken effect.",
        )
    }

    /// More work arrives than can be done; nothing of this request was done.
    pub fn overloaded() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::OVERLOADED,
            "More requests arrive than can be served; this one was not started.",
        )
        .retry_after(1)
    }

    /// Something this request needs does not answer at the moment.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::UNAVAILABLE,
            "A part that this request needs is not available at the moment.",
        )
        .retry_after(1)
    }

    /// No answer within the time limit; the outcome is unknown.
    pub fn timeout() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            code::TIMEOUT,
            "The request took too long; it may or may not have taken effect.",
        )
        .retry_after(1)
    }

    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            code::METHOD_NOT_ALLOWED,
            "This resource does not support the method; `Allow` lists those it does.",
        )
    }

    pub fn payload_too_large(limit_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            code::PAYLOAD_TOO_LARGE,
            format!("The body is larger than {limit_bytes} bytes."),
        )
        .with("limit_bytes", limit_bytes)
    }

    /// A path, query or header parameter that cannot be read.
    pub fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::INVALID_PARAMETER, detail).with("parameter", name)
    }

    /// A well-formed body that is not what the operation takes.
    pub fn invalid_body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::INVALID_BODY,
            "The body is JSON, but not what this operation takes.",
        )
        .with_error(pointer, detail)
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &'static str {
        self.0.code
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("{DOCUMENTATION}#{}", document.code))?;
        map.serialize_entry("title", document.status.canonical_reason().unwrap_or("Error"))?;
        map.serialize_entry("status", &document.status.as_u16())?;
        map.serialize_entry("code", document.code)?;
        map.serialize_entry("detail", &document.detail)?;
        if !document.errors.is_empty() {
            map.serialize_entry("errors", &document.errors)?;
        }
        for (key, value) in &document.extensions {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Serialising strings and JSON values cannot fail; an empty body is still an honest status.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.0.status, body).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response.headers_mut().extend(self.0.headers);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status.as_u16())
            .field("code", &self.0.code)
            .field("detail", &self.0.detail)
            .field("errors", &self.0.errors)
            .field("extensions", &self.0.extensions)
            .finish()
    }
}

impl std::error::Error for Problem {}
