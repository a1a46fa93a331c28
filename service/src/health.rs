//! Whether the process, and each part it depends on, works.
//!
//! `/health/live` says that the process runs and asks nothing else, so that a database's outage
//! never makes an orchestrator restart what is healthy. `/health/ready` says whether requests
//! should come here. `/health` shows every part, with what to do about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use http::StatusCode;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use tokio::time::Instant;

use crate::shutdown::Shutdown;

/// How long a check may take, unless told otherwise.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a report is shown again, unless told otherwise. The routes ask for no token, and asking often must not
/// become load on what is checked.
const REPORT_LIFETIME: Duration = Duration::from_millis(500);

/// How a part, or the whole, is doing. Ordered: later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Works, but not as it should: stale reads, a lost replica. Requests may come.
    Degraded,
    /// What the process is for cannot be done.
    Down,
}

/// One part's state. Texts are public: they name no host, credential or tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What an operator does about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Part {
    pub fn ok() -> Self {
        Self {
            status: Status::Ok,
            detail: None,
            remedy: None,
        }
    }

    pub fn degraded(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: Status::Degraded,
            detail: Some(detail.into()),
            remedy: Some(remedy.into()),
        }
    }

    pub fn down(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: Status::Down,
            detail: Some(detail.into()),
            remedy: Some(remedy.into()),
        }
    }

    /// Adds a figure or fact to show, also where all is well.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// All parts, and the worst of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub status: Status,
    pub parts: BTreeMap<String, Part>,
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, Part> + Send + Sync>;

/// The parts that a process depends on. Cheap to clone; parts may be added while serving.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Check>>>,
    latest: Arc<tokio::sync::Mutex<Option<(Instant, Report)>>>,
    shutdown: Shutdown,
    check_timeout: Duration,
    report_lifetime: Duration,
}

impl Health {
    /// A process that is stopping is not ready, whatever its parts say.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            checks: Arc::default(),
            latest: Arc::default(),
            shutdown,
            check_timeout: CHECK_TIMEOUT,
            report_lifetime: REPORT_LIFETIME,
        }
    }

    /// Other times than two seconds for a check and half a second for a report.
    #[must_use]
    pub fn with_times(mut self, check_timeout: Duration, report_lifetime: Duration) -> Self {
        self.check_timeout = check_timeout;
        self.report_lifetime = report_lifetime;
        self
    }

    /// Adds a part, or replaces the one of this name. A check that takes too long counts as down.
    pub fn register<F, Fut>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Part> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.into(), check);
    }

    /// The state of every part, as of now or of a report made just before.
    pub async fn report(&self) -> Report {
        // Held while checking: whoever asks meanwhile gets the same report.
        let mut latest = self.latest.lock().await;
        if let Some((made, report)) = latest.as_ref()
            && made.elapsed() < self.report_lifetime
        {
            return report.clone();
        }
        let report = self.check_all().await;
        *latest = Some((Instant::now(), report.clone()));
        report
    }

    async fn check_all(&self) -> Report {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let parts = checks.into_iter().map(|(name, check)| async move {
            let part = tokio::time::timeout(self.check_timeout, check())
                .await
                .unwrap_or_else(|_| {
                    let limit_ms = self.check_timeout.as_millis();
                    Part::down(
                        format!("no answer within {limit_ms} ms"),
                        "see the logs of this process and of the part",
                    )
                });
            (name, part)
        });
        let parts: BTreeMap<String, Part> = futures::future::join_all(parts).await.into_iter().collect();
        let status = parts.values().map(|part| part.status).max().unwrap_or(Status::Ok);
        Report { status, parts }
    }

    /// The routes `/health`, `/health/live` and `/health/ready`.
    pub fn routes(&self) -> Router {
        let (whole, ready) = (self.clone(), self.clone());
        Router::new()
            .route("/health", get(move || async move { answer(&whole.report().await) }))
            .route(
                "/health/live",
                get(|| async {
                    answer(&Report {
                        status: Status::Ok,
                        parts: BTreeMap::new(),
                    })
                }),
            )
            .route(
                "/health/ready",
                get(move || async move { answer(&ready.readiness().await) }),
            )
    }

    async fn readiness(&self) -> Report {
        if self.shutdown.is_triggered() {
            let part = Part::down("the process is stopping", "send requests to another instance");
            return Report {
                status: Status::Down,
                parts: BTreeMap::from([("process".to_owned(), part)]),
            };
        }
        self.report().await
    }
}

fn answer(report: &Report) -> Response {
    let status = match report.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}
