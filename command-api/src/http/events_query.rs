//! What `GET /v1/events` is asked for, however it is answered.

use axum::http::{HeaderMap, HeaderName};
use domain::{EventType, Timestamp};
use event_store::{EventFilter, PositionToken, SlotPosition};
use service::problem::Problem;

use super::headers;
use crate::error::Error;
use crate::openapi::EventsQuery;

/// What a client of server-sent events sends when it comes back by itself.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// `after`, where only what is to come is wanted.
const NOW: &str = "now";
/// Events per answer where the client does not say.
const DEFAULT_LIMIT: u32 = 100;

pub(super) fn filter(query: &EventsQuery) -> Result<EventFilter, Problem> {
    let event_type = |name: &str| EventType::from_stored(name).ok_or("is not a type of event");
    let time = |text: &str| {
        text.parse::<Timestamp>()
            .map_err(|_| "must be an RFC 3339 time such as 2026-01-31T12:00:00Z")
    };
    Ok(EventFilter {
        types: parameter("type", query.event_type.as_deref(), event_type)?
            .into_iter()
            .collect(),
        establishment: parameter("establishment_id", query.establishment_id.as_deref(), str::parse)?,
        order: parameter("order_id", query.order_id.as_deref(), str::parse)?,
        from: parameter("from", query.from.as_deref(), time)?,
        to: parameter("to", query.to.as_deref(), time)?,
    })
}

/// Events after which a stream ends, where the client says.
pub(super) fn stream_limit(query: &EventsQuery) -> Result<Option<usize>, Problem> {
    let Some(asked) = query.limit else { return Ok(None) };
    if asked == 0 {
        return Err(Problem::invalid_parameter("limit", "`limit` must be at least 1."));
    }
    Ok(usize::try_from(asked).ok())
}

fn parameter<T, E: std::fmt::Display>(
    name: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    let read = |text| read(text).map_err(|error| Problem::invalid_parameter(name, format!("`{name}` {error}.")));
    text.map(read).transpose()
}

/// How many events a page holds.
pub(super) fn limit(query: &EventsQuery, most: usize) -> Result<usize, Problem> {
    let asked = usize::try_from(query.limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
    let fault = || Problem::invalid_parameter("limit", format!("`limit` must be 1 to {most}."));
    // The default must not be refused where an operator permits less.
    let asked = if query.limit.is_none() { asked.min(most) } else { asked };
    if (1..=most).contains(&asked) {
        Ok(asked)
    } else {
        Err(fault())
    }
}

/// Where to start. A token of another slot, of an incarnation that a restore has ended, or from
/// beyond the end was not given out by this log as it is now: going on from it would be silently
/// wrong.
///
/// # Errors
/// 400 for such a token.
pub(super) fn after(query: &EventsQuery, head: PositionToken) -> Result<SlotPosition, Error> {
    match query.after.as_deref() {
        None => Ok(SlotPosition::default()),
        Some(NOW) => Ok(head.slot_position),
        Some(token) => given_out(token, head),
    }
}

/// As [`after`], of a stream: a client that comes back by itself asks for what it asked for at
/// first, and says in a header how far it has come since.
///
/// # Errors
/// 400 as of [`after`].
pub(super) fn resume(headers: &HeaderMap, query: &EventsQuery, head: PositionToken) -> Result<SlotPosition, Error> {
    match headers::single(headers, &LAST_EVENT_ID)? {
        None | Some("") => after(query, head),
        Some(token) => given_out(token, head),
    }
}

fn given_out(token: &str, head: PositionToken) -> Result<SlotPosition, Error> {
    let token: PositionToken = token.parse().map_err(|_| Error::InvalidCursor)?;
    let of_this_log = token.slot == head.slot && token.incarnation == head.incarnation;
    if of_this_log && token.slot_position <= head.slot_position {
        Ok(token.slot_position)
    } else {
        Err(Error::InvalidCursor)
    }
}
