//! What surrounds every request: bounds, problem documents, identity, measurements.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::FromRef;
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::OrderId;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use service::auth::{Principal, Verifier};
use service::extract::{Path, Query};
use service::http::{RequestContext, harden};
use service::json::JsonBody;
use service::settings::HttpSettings;
use service::telemetry::Metrics;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use crate::tokens;

#[derive(Clone)]
struct App {
    verifier: Arc<Verifier>,
    /// Released by a test to let `/wait` end.
    gate: Arc<Notify>,
}

impl FromRef<App> for Arc<Verifier> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.verifier)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    limit: Option<u8>,
}

fn app(settings: &HttpSettings) -> (Router, Arc<Notify>) {
    let verifier = Arc::new(Verifier::new(&tokens::settings()).unwrap());
    let gate = Arc::new(Notify::new());
    let state = App {
        verifier,
        gate: Arc::clone(&gate),
    };
    let waiting = Arc::clone(&state.gate);
    let router = Router::new()
        .route("/json", post(|body: JsonBody<Value>| async move { body.fingerprint() }))
        .route(
            "/stock-json",
            post(|Json(body): Json<Vec<u8>>| async move { Json(body) }),
        )
        .route("/bytes", post(|body: Bytes| async move { body.len().to_string() }))
        .route(
            "/orders/{id}",
            get(|Path(id): Path<OrderId>| async move { id.to_string() }),
        )
        .route(
            "/page",
            get(|Query(page): Query<Page>| async move { page.limit.unwrap_or(20).to_string() }),
        )
        .route(
            "/me",
            get(|principal: Principal| async move { principal.tenant().tenant().to_string() }),
        )
        .route(
            "/context",
            get(|context: RequestContext| async move { context.correlation_id().to_owned() }),
        )
        .route("/panic", get(|| async { panicking() }))
        .route(
            "/plain-500",
            get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "password=hunter2") }),
        )
        .route("/wait", get(move || async move { waiting.notified().await }))
        .route("/health/live", get(|| async { "up" }))
        .with_state(state);
    (harden(router, settings), gate)
}

#[expect(clippy::panic, reason = "the panic is what is tested")]
fn panicking() -> &'static str {
    panic!("secret detail");
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Asserts that it is a complete problem document, and gives its code.
    #[track_caller]
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let document = self.json();
        assert_eq!(document["status"], status);
        let code = document["code"].as_str().unwrap().to_owned();
        assert_eq!(document["type"], format!("/docs/errors#{code}"));
        assert!(document["title"].is_string() && document["detail"].is_string());
        code
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

async fn get_path(router: &Router, path: &str) -> Answer {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post_body(router: &Router, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
    send(
        router,
        Request::post(path)
            .header("content-type", content_type)
            .body(body.into())
            .unwrap(),
    )
    .await
}

fn small() -> HttpSettings {
    HttpSettings {
        max_body_bytes: 100,
        ..HttpSettings::default()
    }
}

#[tokio::test]
async fn given_no_such_route_or_method_when_asked_then_a_problem() {
    let (router, _) = app(&small());
    assert_eq!(get_path(&router, "/nowhere").await.problem(404), "not_found");
    let answer = send(
        &router,
        Request::builder()
            .method(Method::DELETE)
            .uri("/json")
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    assert_eq!(answer.problem(405), "method_not_allowed");
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn given_bad_bodies_when_posted_then_each_has_its_problem() {
    let (router, _) = app(&small());
    let json = "application/json";
    assert_eq!(
        post_body(&router, "/json", "text/plain", "{}").await.problem(415),
        "unsupported_media_type"
    );
    assert_eq!(
        post_body(&router, "/json", "application/json; charset=latin1", "{}")
            .await
            .problem(415),
        "unsupported_media_type"
    );
    let untyped = send(&router, Request::post("/json").body("{}".into()).unwrap()).await;
    assert_eq!(untyped.problem(415), "unsupported_media_type");
    assert_eq!(
        post_body(&router, "/json", json, "{").await.problem(400),
        "malformed_json"
    );
    assert_eq!(
        post_body(&router, "/json", json, "").await.problem(400),
        "malformed_json"
    );
    assert_eq!(
        post_body(&router, "/json", json, &b"\"\xff\""[..]).await.problem(400),
        "invalid_utf8"
    );
    assert_eq!(
        post_body(&router, "/json", json, "{\"a\":1,\"a\":1}")
            .await
            .problem(400),
        "duplicate_key"
    );
    for kind in [
        json,
        "application/json; charset=UTF-8",
        "Application/JSON;charset=\"utf-8\"",
        "application/x+json",
    ] {
        assert_eq!(post_body(&router, "/json", kind, "{}").await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn given_rejections_of_stock_extractors_when_answered_then_problems_too() {
    let (router, _) = app(&small());
    assert_eq!(
        post_body(&router, "/stock-json", "application/json", "[1,")
            .await
            .problem(400),
        "bad_request"
    );
    assert_eq!(
        post_body(&router, "/stock-json", "application/json", "[\"a\"]")
            .await
            .problem(422),
        "invalid_body"
    );
    assert_eq!(
        post_body(&router, "/stock-json", "text/plain", "[]").await.problem(415),
        "unsupported_media_type"
    );
}

#[tokio::test]
async fn given_bodies_around_the_limit_when_posted_then_only_larger_ones_are_refused() {
    let (router, _) = app(&small());
    let sized = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    // Without an announced length, as in chunked transfer.
    let streamed = |bytes: usize| {
        let body = sized(bytes);
        let pieces: Vec<_> = body
            .as_bytes()
            .chunks(30)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        Body::from_stream(futures::stream::iter(pieces))
    };
    let announced = |path: &str, bytes: usize| {
        Request::post(path)
            .header("content-type", "application/json")
            .header("content-length", bytes)
            .body(Body::from(sized(bytes)))
            .unwrap()
    };
    assert_eq!(send(&router, announced("/json", 100)).await.status, 200);
    let refused = send(&router, announced("/json", 101)).await;
    assert_eq!(refused.problem(413), "payload_too_large");
    assert_eq!(refused.json()["limit_bytes"], 100);
    assert_eq!(
        post_body(&router, "/json", "application/json", streamed(100))
            .await
            .status,
        200
    );
    assert_eq!(
        post_body(&router, "/json", "application/json", streamed(101))
            .await
            .problem(413),
        "payload_too_large"
    );
    assert_eq!(
        post_body(&router, "/bytes", "application/json", streamed(101))
            .await
            .problem(413),
        "payload_too_large"
    );
}

#[tokio::test]
async fn given_unreadable_parameters_when_asked_then_400_names_them() {
    let (router, _) = app(&small());
    let answer = get_path(&router, "/orders/not-a-uuid").await;
    assert_eq!(answer.problem(400), "invalid_parameter");
    assert_eq!(answer.json()["parameter"], "id");
    assert_eq!(get_path(&router, "/orders/%ff").await.problem(400), "invalid_parameter");
    let answer = get_path(&router, "/page?limit=300").await;
    assert_eq!(answer.problem(400), "invalid_parameter");
    assert_eq!(answer.json()["parameter"], "limit");
    assert_eq!(
        get_path(&router, "/page?limt=3").await.problem(400),
        "invalid_parameter"
    );
    assert_eq!(
        get_path(&router, "/page?limit=3&limit=4").await.problem(400),
        "invalid_parameter"
    );
    assert_eq!(get_path(&router, "/page?limit=3").await.body, "3");
}

#[tokio::test]
async fn given_authorization_headers_when_asked_then_only_one_bearer_token_passes() {
    let (router, _) = app(&small());
    let soon = service::edge::now().as_datetime().timestamp() + 60;
    let token = tokens::honest(&tokens::claims_with(json!({"exp": soon})));
    let asked = |headers: Vec<String>| {
        let request = headers.into_iter().fold(Request::get("/me"), |request, value| {
            request.header("authorization", value)
        });
        let router = router.clone();
        async move { send(&router, request.body(Body::empty()).unwrap()).await }
    };
    for scheme in ["Bearer ", "bearer ", "BEARER  "] {
        assert_eq!(asked(vec![format!("{scheme}{token}")]).await.body, "trattoria");
    }
    let missing = asked(vec![]).await;
    assert_eq!(missing.problem(401), "unauthenticated");
    assert_eq!(missing.headers["www-authenticate"], "Bearer realm=\"comanda\"");
    let refused = [
        vec![String::new()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![format!("Bearer {token} {token}")],
        vec![format!("Basic {token}")],
        vec![format!("Bearer{token}")],
        vec![format!("Bearer \"{token}\"")],
        vec![format!("Bearer {token}"), format!("Bearer {token}")],
        vec![format!("Bearer {token}"), "Basic eDp5".to_owned()],
    ];
    for headers in refused {
        let answer = asked(headers.clone()).await;
        assert_eq!(answer.problem(401), "invalid_token", "{headers:?}");
        assert!(
            answer.headers["www-authenticate"]
                .to_str()
                .unwrap()
                .contains("error=\"invalid_token\"")
        );
    }
}

#[tokio::test]
async fn given_a_panic_or_a_plain_error_when_answered_then_500_tells_nothing() {
    let (router, _) = app(&small());
    let panicked = get_path(&router, "/panic").await;
    assert_eq!(panicked.problem(500), "internal");
    assert!(!String::from_utf8_lossy(&panicked.body).contains("secret"));
    let plain = get_path(&router, "/plain-500").await;
    assert_eq!(plain.problem(500), "internal");
    assert!(!String::from_utf8_lossy(&plain.body).contains("hunter2"));
}

#[tokio::test]
async fn given_a_handler_without_end_when_the_limit_passes_then_503_with_retry_after() {
    let (router, _) = app(&HttpSettings {
        request_timeout_ms: 20,
        ..small()
    });
    let answer = get_path(&router, "/wait").await;
    assert_eq!(answer.problem(503), "timeout");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn given_as_many_requests_as_allowed_when_one_more_comes_then_shed_across_routes_but_not_probes() {
    let (router, gate) = app(&HttpSettings {
        max_in_flight: 2,
        ..small()
    });
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { get_path(&router, "/wait").await.status })
        })
        .collect();
    // Both hold their place once another request, on another route, is refused.
    let refused = bounded(async {
        loop {
            let answer = get_path(&router, "/context").await;
            if answer.status != 200 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(refused.problem(503), "overloaded");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(get_path(&router, "/health/live").await.status, 200);
    for request in waiting {
        gate.notify_one();
        assert_eq!(bounded(request).await.unwrap(), 200);
    }
    assert_eq!(get_path(&router, "/context").await.status, 200, "places are given back");
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(10), future)
        .await
        .expect("within 10 s")
}

#[tokio::test]
async fn given_inbound_ids_when_sane_then_kept_and_else_replaced() {
    let (router, _) = app(&small());
    let asked = |id: &'static str, trace: &'static str| {
        let request = Request::get("/context")
            .header("x-request-id", id)
            .header("traceparent", trace);
        let router = router.clone();
        async move { send(&router, request.body(Body::empty()).unwrap()).await }
    };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = asked("till-7:42", trace).await;
    assert_eq!(answer.headers["x-request-id"], "till-7:42");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.body, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(
        asked("till-7", "nonsense").await.body,
        "till-7",
        "without a trace the request correlates"
    );
    for insane in ["", "a b", "<script>", "{}", "a\"b"] {
        let answer = asked(insane, trace).await;
        assert_eq!(answer.headers["x-request-id"].len(), 36, "{insane}");
    }
    for invalid in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        assert_eq!(asked("till-7", invalid).await.body, "till-7", "{invalid}");
    }
    let fresh = get_path(&router, "/nowhere").await;
    assert_eq!(fresh.headers["x-request-id"].len(), 36);
}

#[tokio::test]
async fn given_requests_when_metrics_are_read_then_counted_by_route_and_never_by_path() {
    let metrics = Metrics::install().unwrap();
    let (router, _) = app(&small());
    get_path(&router, "/page?limit=7").await;
    get_path(&router, "/orders/11111111-2222-3333-4444-555555555555").await;
    get_path(&router, "/made/up/by/a/stranger").await;
    send(
        &router,
        Request::builder()
            .method("BREW")
            .uri("/page")
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    let text = send(&metrics.routes(), Request::get("/metrics").body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    for line in [
        r#"http_requests_total{method="GET",route="/page",status="200"}"#,
        r#"http_requests_total{method="GET",route="/orders/{id}",status="200"}"#,
        r#"http_requests_total{method="GET",route="unmatched",status="404"}"#,
        r#"http_requests_total{method="OTHER",route="/page",status="405"}"#,
        r#"http_request_duration_ms_bucket{method="GET",route="/page",status="200",le="50"}"#,
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    assert!(!text.contains("stranger") && !text.contains("11111111"));
}
