//! Log lines.

use std::io::{IsTerminal as _, stderr};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::TelemetryError;
use crate::settings::{LogFormat, LogSettings};

/// Starts logging to standard error, and logs panics too. Once per process.
///
/// # Errors
/// Where the filter cannot be read, or logging was set up before.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let terminal = stderr().is_terminal();
    let shape = match settings.format {
        LogFormat::Auto if terminal => LogFormat::Text,
        LogFormat::Auto => LogFormat::Json,
        LogFormat::Text | LogFormat::Json => settings.format,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = lines(&settings.filter, shape, colour, stderr)?;
    subscriber
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet("logging"))?;
    log_panics();
    Ok(())
}

/// What writes the log lines, to wherever `writer` says. Anything but [`LogFormat::Text`] is JSON.
///
/// # Errors
/// Where the filter cannot be read.
pub fn lines<W>(
    filter: &str,
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?;
    let text = format == LogFormat::Text;
    let text_lines = text.then(|| layer().with_writer(writer.clone()).with_ansi(colour).with_target(false));
    let json_lines = (!text).then(|| {
        layer()
            .with_writer(writer)
            .json()
            .flatten_event(true)
            .with_span_list(false)
    });
    Ok(tracing_subscriber::registry()
        .with(filter)
        .with(text_lines)
        .with(json_lines))
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
