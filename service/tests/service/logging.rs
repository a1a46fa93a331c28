//! The log line of a request.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use serde_json::{Value, json};
use service::auth::{Principal, Verifier};
use service::http::harden;
use service::settings::{HttpSettings, LogFormat};
use service::telemetry::lines;
use tower::ServiceExt as _;

use crate::tokens;

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start(&self, format: LogFormat) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        tracing::subscriber::set_default(lines("info", format, false, move || log.clone()).unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn router(slow_request_ms: u64) -> Router {
    let verifier = Arc::new(Verifier::new(&tokens::settings()).unwrap());
    let router = Router::new()
        .route("/me/{name}", get(|_: Principal| async {}))
        .route("/open", get(|| async {}))
        .route("/failing", get(|| async { tracing::error!("the cause") }))
        .route("/without-end", get(std::future::pending::<()>))
        .route("/health/live", get(|| async {}))
        .with_state(verifier);
    harden(
        router,
        &HttpSettings {
            slow_request_ms,
            ..HttpSettings::default()
        },
    )
}

async fn ask(router: &Router, path: &str) {
    let soon = service::edge::now().as_datetime().timestamp() + 60;
    let token = tokens::honest(&tokens::claims_with(json!({"exp": soon})));
    let request = Request::get(path)
        .header("authorization", format!("Bearer {token}"))
        .header("x-request-id", "r-1");
    router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn given_a_request_when_answered_then_one_line_with_dotted_fields_and_no_secret() {
    let log = Log::default();
    let _logging = log.start(LogFormat::Json);
    ask(&router(60_000), "/me/anna?access_token=s3cret").await;
    let lines = log.json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["level"], &line["message"]), (&json!("INFO"), &json!("request")));
    assert_eq!(line["http.request.method"], "GET");
    assert_eq!(line["url.path"], "/me/anna");
    assert_eq!(line["http.route"], "/me/{name}");
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(line["tenant.id"], "trattoria");
    assert_eq!(line["request.id"], "r-1");
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms >= 0.0));
    assert!(!log.text().contains("s3cret") && !log.text().contains("Bearer"));
}

#[tokio::test]
async fn given_an_error_logged_by_a_handler_when_read_then_it_names_its_request() {
    let log = Log::default();
    let _logging = log.start(LogFormat::Json);
    ask(&router(60_000), "/failing").await;
    let lines = log.json();
    assert_eq!(lines[0]["message"], "the cause");
    assert_eq!(lines[0]["span"]["request.id"], "r-1");
}

#[tokio::test]
async fn given_slow_requests_and_probes_when_answered_then_warned_of_and_left_out() {
    let log = Log::default();
    let _logging = log.start(LogFormat::Json);
    ask(&router(0), "/open").await;
    ask(&router(60_000), "/health/live").await;
    let lines = log.json();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["message"]),
        (&json!("WARN"), &json!("slow request"))
    );
}

#[tokio::test]
async fn given_a_client_that_goes_away_when_its_request_is_dropped_then_logged_as_499() {
    let log = Log::default();
    let _logging = log.start(LogFormat::Json);
    let gone = tokio::time::timeout(Duration::from_millis(20), ask(&router(60_000), "/without-end")).await;
    assert!(gone.is_err());
    assert_eq!(log.json()[0]["http.response.status_code"], 499);
}

#[tokio::test]
async fn given_the_text_format_when_logged_then_readable_without_escape_codes() {
    let log = Log::default();
    let _logging = log.start(LogFormat::Text);
    ask(&router(60_000), "/open").await;
    assert!(
        log.text()
            .contains("INFO request http.request.method=\"GET\" url.path=\"/open\""),
        "{}",
        log.text()
    );
}

#[test]
fn given_a_filter_that_cannot_be_read_when_started_then_refused() {
    assert!(lines("info,=", LogFormat::Json, false, std::io::sink).is_err());
}
