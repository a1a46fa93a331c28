//! `GET /v1/events`

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::{EventType, Timestamp};
use event_store::{EventFilter, PositionToken, SlotPosition};
use service::auth::Scope;
use service::extract::Query;
use service::problem::Problem;

use super::caller::Caller;
use super::headers::POSITION;
use crate::CommandApi;
use crate::call::may_see;
use crate::error::Error;
use crate::openapi::{EventsQuery, ReadRefusals};
use crate::wire::{EventView, Position};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Events per answer where the client does not say.
const DEFAULT_LIMIT: u32 = 100;

/// Read the tenant's events.
///
/// One `Event` per line, in the order they were committed. Go on by sending the answer's
/// `Comanda-Position` as `after`; the end is reached where it no longer changes.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "Events",
    params(EventsQuery),
    responses(
        (status = 200, description = "Events, one JSON document per line.", body = String,
            content_type = "application/x-ndjson",
            headers(("Comanda-Position" = Position, description = "Where to go on: send it as `after`."))),
        ReadRefusals,
    ),
    security(("bearer" = ["events:read"])),
)]
pub(crate) async fn list_events(
    State(api): State<CommandApi>,
    caller: Caller,
    query: Result<Query<EventsQuery>, Problem>,
) -> Result<Response, Error> {
    caller.principal.require(Scope::EventsRead)?;
    let Query(query) = query?;
    let filter = filter(&query)?;
    if let Some(establishment) = &filter.establishment {
        caller.principal.require_establishment(establishment)?;
    }
    let limit = limit(&query, api.settings.events_page_max)?;

    let store = api.executor.store();
    let head = store.head_of(caller.tenant()).await?;
    let after = after(&query, head)?;
    let page = store.read_tenant(caller.tenant(), &filter, after, limit).await?;
    let permitted = page
        .events
        .iter()
        .filter(|event| may_see(&caller.principal, &event.metadata).is_ok());
    let body = lines(permitted.map(EventView::of_recorded))?;

    let go_on = PositionToken {
        slot_position: page.next,
        ..head
    };
    let mut response = ([(header::CONTENT_TYPE, NDJSON)], body).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response.headers_mut().extend(
        HeaderValue::try_from(go_on.to_string())
            .ok()
            .map(|token| (POSITION, token)),
    );
    Ok(response)
}

fn filter(query: &EventsQuery) -> Result<EventFilter, Problem> {
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

fn parameter<T, E: std::fmt::Display>(
    name: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    let read = |text| read(text).map_err(|error| Problem::invalid_parameter(name, format!("`{name}` {error}.")));
    text.map(read).transpose()
}

fn limit(query: &EventsQuery, most: usize) -> Result<usize, Problem> {
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
fn after(query: &EventsQuery, head: PositionToken) -> Result<SlotPosition, Error> {
    let Some(text) = &query.after else {
        return Ok(SlotPosition::default());
    };
    let token: PositionToken = text.parse().map_err(|_| Error::InvalidCursor)?;
    let of_this_log = token.slot == head.slot && token.incarnation == head.incarnation;
    if of_this_log && token.slot_position <= head.slot_position {
        Ok(token.slot_position)
    } else {
        Err(Error::InvalidCursor)
    }
}

fn lines(events: impl Iterator<Item = EventView>) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    for event in events {
        serde_json::to_writer(&mut body, &event).map_err(|error| Error::Unexpected(error.into()))?;
        body.push(b'\n');
    }
    Ok(body)
}
