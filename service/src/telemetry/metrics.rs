//! Metrics, recorded anywhere through the `metrics` facade and read here by Prometheus.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::TelemetryError;

/// Names of the metrics that this crate records. The unit stands last in each name.
pub mod name {
    pub const HTTP_REQUEST_DURATION: &str = "http_request_duration_ms";
    pub const HTTP_REQUESTS: &str = "http_requests_total";
    /// Requests refused because too many were under way.
    pub const HTTP_REQUESTS_SHED: &str = "http_requests_shed_total";
    pub const HTTP_PANICS: &str = "http_panics_total";
    pub const RESIDENT_MEMORY: &str = "process_resident_memory_bytes";
}

/// Upper bounds in milliseconds. They lie on the latencies the platform promises (20, 50, 100,
/// 200, 500 ms) and on the limit for slow requests (1 s).
const DURATION_BUCKETS_MS: [f64; 14] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0,
];

/// Samples of histograms pile up until they are sorted into buckets; this often they are.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts recording. Called again, it gives the same metrics.
    ///
    /// # Errors
    /// Where another recorder was installed before.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = INSTALLED.get() {
            return Ok(metrics.clone());
        }
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_duration_ms".to_owned()), &DURATION_BUCKETS_MS)
            .map_err(TelemetryError::Buckets)?
            .build_recorder();
        let metrics = Self(recorder.handle());
        metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::AlreadySet("metrics"))?;
        describe();
        let handle = metrics.0.clone();
        // A thread of its own: upkeep must go on, scraped or not, in whatever runtime.
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                handle.run_upkeep();
            }
        });
        Ok(INSTALLED.get_or_init(|| metrics).clone())
    }

    /// The metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        if let Some(bytes) = resident_memory_bytes() {
            metrics::gauge!(name::RESIDENT_MEMORY).set(bytes);
        }
        self.0.render()
    }

    /// The route `GET /metrics`. It shows counts only and names no tenant, so it asks for no token.
    pub fn routes(&self) -> Router {
        let metrics = self.clone();
        Router::new().route("/metrics", get(move || async move { metrics.answer() }))
    }

    fn answer(&self) -> impl IntoResponse + use<> {
        (
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            self.render(),
        )
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn describe() {
    metrics::describe_histogram!(
        name::HTTP_REQUEST_DURATION,
        "Time from a request's head to its answer's head"
    );
    metrics::describe_counter!(
        name::HTTP_REQUESTS,
        "Requests answered, or given up by their client (status 499)"
    );
    metrics::describe_counter!(
        name::HTTP_REQUESTS_SHED,
        "Requests refused because too many were under way"
    );
    metrics::describe_counter!(name::HTTP_PANICS, "Requests whose handler panicked");
    metrics::describe_gauge!(name::RESIDENT_MEMORY, "Resident memory of the process");
}

/// `None` where the system does not tell.
fn resident_memory_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024.0)
}
