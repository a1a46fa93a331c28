//! Server-sent events as they are written (WHATWG HTML, section 9.2).

use axum::body::Bytes;
use event_store::{PositionToken, RecordedEvent};
use serde_json::json;

use crate::wire::EventView;

/// Why a stream ended. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As many events as were asked for.
    LimitReached,
    TokenExpired,
    /// The process stops; another takes over.
    Stopping,
    /// The log was restored or promoted: what lies behind the cursor may not be what it was.
    LogRestored,
    /// The log could not be read for too long.
    Unavailable,
}

impl End {
    const fn code(self) -> &'static str {
        match self {
            Self::LimitReached => "limit_reached",
            Self::TokenExpired => "token_expired",
            Self::Stopping => "stopping",
            Self::LogRestored => "log_restored",
            Self::Unavailable => "unavailable",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::LimitReached => "As many events as were asked for were sent.",
            Self::TokenExpired => "The token has expired: come back with a fresh one and the last event id.",
            Self::Stopping => "This process stops: come back with the last event id.",
            Self::LogRestored => "The log was restored: the last event id counts no more. Start over.",
            Self::Unavailable => "The log cannot be read at the moment: come back with the last event id.",
        }
    }
}

/// The first bytes: they let whatever lies between know that the answer has begun, and tell the
/// client how long to wait before it comes back.
pub(super) fn opening(reconnect_ms: u64) -> Bytes {
    Bytes::from(format!("retry: {reconnect_ms}\n: follows\n\n"))
}

/// # Errors
/// Where the event cannot be written as JSON.
pub(super) fn event(event: &RecordedEvent) -> Result<Bytes, serde_json::Error> {
    let view = EventView::of_recorded(event);
    let mut frame = format!("id: {}\nevent: {}\ndata: ", event.token(), view.event_type()).into_bytes();
    // JSON text holds no raw line breaks, so it is one line.
    serde_json::to_writer(&mut frame, &view)?;
    frame.extend_from_slice(b"\n\n");
    Ok(Bytes::from(frame))
}

/// Moves the client's last event id on without giving it an event.
pub(super) fn passed_over(up_to: PositionToken) -> Bytes {
    Bytes::from(format!("id: {up_to}\n\n"))
}

pub(super) fn keep_alive() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}

pub(super) fn end(end: End) -> Bytes {
    let data = json!({"code": end.code(), "detail": end.detail()});
    Bytes::from(format!("event: end\ndata: {data}\n\n"))
}
