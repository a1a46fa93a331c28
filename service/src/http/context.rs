//! What is known about a request beside its content.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use domain::TenantId;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::edge;

/// Names one request; taken from the client where sane, answered always.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// W3C Trace Context: names the whole operation that this request is part of.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const MAX_REQUEST_ID_LEN: usize = 128;

/// Identity of a request: for log lines, answers and the correlation of events.
///
/// As an extractor it never refuses. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    request_id: Box<str>,
    /// 32 hex digits.
    trace_id: Option<Box<str>>,
    /// Known once a token has been verified.
    tenant: OnceLock<TenantId>,
}

impl RequestContext {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let request_id = headers
            .get(X_REQUEST_ID)
            .and_then(sane_request_id)
            .map_or_else(fresh, Box::from);
        let trace_id = headers.get(TRACEPARENT).and_then(trace_id).map(Box::from);
        Self(Arc::new(Inner {
            request_id,
            trace_id,
            tenant: OnceLock::new(),
        }))
    }

    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The trace that the caller said this request is part of.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// What ties together everything that one operation causes: the trace, or else this request.
    pub fn correlation_id(&self) -> &str {
        self.trace_id().unwrap_or(&self.0.request_id)
    }

    pub fn tenant(&self) -> Option<&TenantId> {
        self.0.tenant.get()
    }

    pub(crate) fn set_tenant(&self, tenant: &TenantId) {
        // A second token on one request would be the same token; the first stays.
        let _ = self.0.tenant.set(tenant.clone());
    }

    pub(super) fn request_id_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.request_id()).ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// Only what can stand in any log or header unchanged: it is written to both.
fn sane_request_id(value: &HeaderValue) -> Option<&str> {
    let id = value.to_str().ok()?;
    let sane = (1..=MAX_REQUEST_ID_LEN).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'='));
    sane.then_some(id)
}

/// `version-traceid-parentid-flags`, lower-case hex, ids not all zero.
fn trace_id(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let not_zero = |part: &str| part.bytes().any(|b| b != b'0');
    let well_formed = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    // Later versions may append parts; version 00 has exactly four.
    let complete = version != "00" || parts.next().is_none();
    (well_formed && complete && not_zero(trace) && not_zero(parent)).then_some(trace)
}

fn fresh() -> Box<str> {
    edge::fresh_id().to_string().into()
}
