//! Log lines.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{format::FmtSpan, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::TelemetryError;
use crate::settings::{LogFormat, LogSettings};

/// Starts logging to standard error, and logs panics too. Once per process.
///
/// # Errors
/// Where the filter cannot be read, or logging was set up before.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(TelemetryError::Filter)?;
    let terminal = stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        let lines = layer().with_writer(stderr).with_span_events(FmtSpan::NONE);
        registry
            .with(lines.json().flatten_event(true).with_span_list(false))
            .try_init()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        registry
            .with(layer().with_writer(stderr).with_ansi(colour).with_target(false))
            .try_init()
    };
    started.map_err(|_| TelemetryError::AlreadySet("logging"))?;
    log_panics();
    Ok(())
}

/// A panic is one log line like any other, with its place; nothing of it reaches a client.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no message)");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(panic.message = message, panic.location = place, "panic");
    }));
}
