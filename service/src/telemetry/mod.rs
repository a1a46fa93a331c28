//! What the process says about itself: log lines on standard error, metrics for Prometheus.

mod log;
mod metrics;

pub use log::{init, lines};
pub use metrics::{Metrics, name};

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.filter is not a filter such as `info,event_store=debug`")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    #[error("something in this process has set up {0} already")]
    AlreadySet(&'static str),
    #[error("the metrics' buckets are not usable")]
    Buckets(#[source] metrics_exporter_prometheus::BuildError),
}
