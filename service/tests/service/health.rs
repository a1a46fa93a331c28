//! Health reports and the routes that show them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use service::health::{Health, Part};
use service::shutdown::Shutdown;
use tower::ServiceExt as _;

async fn asked(health: &Health, path: &str) -> (u16, Value) {
    let response = health
        .routes()
        .oneshot(Request::get(path).body(Body::empty()).unwrap())
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn health_of(parts: Vec<(&'static str, Part)>) -> Health {
    let health = Health::new(Shutdown::new());
    for (name, part) in parts {
        health.register(name, move || {
            let part = part.clone();
            async move { part }
        });
    }
    health
}

#[tokio::test]
async fn given_all_parts_well_when_asked_then_ok_everywhere() {
    let health = health_of(vec![("event_store", Part::ok().with_detail("4 shards"))]);
    for path in ["/health", "/health/live", "/health/ready"] {
        let (status, report) = asked(&health, path).await;
        assert_eq!((status, &report["status"]), (200, &"ok".into()), "{path}");
    }
    assert_eq!(
        asked(&health, "/health").await.1["parts"]["event_store"]["detail"],
        "4 shards"
    );
}

#[tokio::test]
async fn given_a_degraded_part_when_asked_then_ready_all_the_same_with_remedy() {
    let health = health_of(vec![
        ("a", Part::ok()),
        ("feed", Part::degraded("12 s behind", "wait, or add projectors")),
    ]);
    let (status, report) = asked(&health, "/health/ready").await;
    assert_eq!((status, &report["status"]), (200, &"degraded".into()));
    assert_eq!(report["parts"]["feed"]["remedy"], "wait, or add projectors");
}

#[tokio::test]
async fn given_a_part_down_when_asked_then_not_ready_but_alive() {
    let health = health_of(vec![
        ("shard", Part::down("no connection", "start it")),
        ("feed", Part::degraded("", "")),
    ]);
    assert_eq!(asked(&health, "/health").await.0, 503);
    assert_eq!(asked(&health, "/health/ready").await.0, 503);
    assert_eq!(asked(&health, "/health/live").await.0, 200);
}

#[tokio::test]
async fn given_a_check_that_hangs_when_asked_then_down_within_its_limit() {
    let health = Health::new(Shutdown::new()).with_times(Duration::from_millis(20), Duration::ZERO);
    health.register("stuck", std::future::pending);
    let (status, report) = asked(&health, "/health").await;
    assert_eq!((status, &report["parts"]["stuck"]["status"]), (503, &"down".into()));
}

#[tokio::test]
async fn given_a_process_that_stops_when_asked_then_not_ready_but_alive() {
    let shutdown = Shutdown::new();
    let health = Health::new(shutdown.clone());
    assert_eq!(asked(&health, "/health/ready").await.0, 200);
    shutdown.trigger();
    assert_eq!(asked(&health, "/health/ready").await.0, 503);
    assert_eq!(asked(&health, "/health/live").await.0, 200);
}

#[tokio::test]
async fn given_many_who_ask_at_once_when_checked_then_the_part_is_asked_once() {
    for (lifetime, expected) in [(Duration::from_secs(3_600), 1), (Duration::ZERO, 100)] {
        let asked_times = Arc::new(AtomicUsize::new(0));
        let health = Health::new(Shutdown::new()).with_times(Duration::from_secs(10), lifetime);
        let counter = Arc::clone(&asked_times);
        health.register("counted", move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                Part::ok()
            }
        });
        futures::future::join_all((0..100).map(|_| health.report())).await;
        assert_eq!(
            asked_times.load(Ordering::SeqCst),
            expected,
            "reports shown for {lifetime:?}"
        );
    }
}
