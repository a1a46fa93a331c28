//! One log line and one measurement per request, whatever becomes of it.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Method};
use tracing::Instrument as _;

use super::{RequestContext, X_REQUEST_ID};
use crate::telemetry::name;

/// The status logged where the client went away before it had its answer; never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The route label of what no route matched: paths that strangers make up must not become labels.
const UNMATCHED: &str = "unmatched";

pub(super) async fn observe(State(slow): State<Duration>, mut request: Request, next: Next) -> Response {
    let context = RequestContext::of(request.headers());
    let observation = Observation::start(&request, context.clone(), slow);
    // What is logged underneath can be found by the id that the client was told.
    let span = tracing::info_span!("request", request.id = context.request_id());
    request.extensions_mut().insert(context.clone());
    let mut response = next.run(request).instrument(span).await;
    if let Some(id) = context.request_id_header() {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    observation.finish(response.status().as_u16());
    response
}

/// A request under way. Dropped unfinished, it reports that the client went away.
struct Observation {
    context: RequestContext,
    method: &'static str,
    route: String,
    path: String,
    started: Instant,
    slow: Duration,
    status: u16,
}

impl Observation {
    fn start(request: &Request, context: RequestContext, slow: Duration) -> Self {
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map_or(UNMATCHED, MatchedPath::as_str)
            .to_owned();
        Self {
            context,
            method: label(request.method()),
            route,
            path: request.uri().path().to_owned(),
            started: Instant::now(),
            slow,
            status: CLIENT_CLOSED_REQUEST,
        }
    }

    fn finish(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let duration_ms = duration.as_secs_f64() * 1_000.0;
        let labels = [
            ("method", self.method.to_owned()),
            ("route", self.route.clone()),
            ("status", self.status.to_string()),
        ];
        metrics::counter!(name::HTTP_REQUESTS, &labels).increment(1);
        metrics::histogram!(name::HTTP_REQUEST_DURATION, &labels).record(duration_ms);

        // Fields follow OpenTelemetry's names; the query string stays out, it may hold secrets.
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    http.request.method = self.method,
                    url.path = self.path,
                    http.route = self.route,
                    http.response.status_code = self.status,
                    duration_ms,
                    tenant.id = self.context.tenant().map(|tenant| tenant.as_str()),
                    request.id = self.context.request_id(),
                    trace.id = self.context.trace_id(),
                    $message
                )
            };
        }
        if duration > self.slow {
            line!(warn, "slow request");
        } else if super::guard::is_operational(&self.path) {
            // Probes come every few seconds and say nothing new.
            line!(debug, "request");
        } else {
            line!(info, "request");
        }
    }
}

/// Methods as a bounded set of labels.
fn label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}
