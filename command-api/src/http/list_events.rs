//! `GET /v1/events`

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use event_store::{EventFilter, PositionToken};
use service::auth::Scope;
use service::extract::Query;
use service::problem::Problem;

use super::caller::Caller;
use super::events_query::{after, filter, limit, resume, stream_limit};
use super::headers::POSITION;
use crate::CommandApi;
use crate::call::may_see;
use crate::error::Error;
use crate::openapi::{EventsQuery, ReadRefusals, StreamHeaders};
use crate::streams::{EventStream, Start};
use crate::wire::{EventView, Position};

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENT_STREAM: &str = "text/event-stream";

/// Read the tenant's events.
///
/// One `Event` per line, in the order they were committed. Go on by sending the answer's
/// `Comanda-Position` as `after`; the end is reached where it no longer changes.
///
/// With `Accept: text/event-stream` the answer does not end: each event is one of `event:` its type,
/// `id:` its position and `data:` the `Event`; comments keep the connection alive, and an `id:`
/// alone says what was passed over. A client that comes back with `Last-Event-ID` goes on where it
/// was. The last event, `event: end`, says in `data` why the stream ends: `limit_reached`,
/// `token_expired`, `stopping`, `unavailable`, or `log_restored`, after which the positions that the
/// client has count no more.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "Events",
    params(EventsQuery, StreamHeaders),
    responses(
        (status = 200, description = "Events: one JSON document per line, or a stream.",
            content((String = "application/x-ndjson"), (String = "text/event-stream")),
            headers(("Comanda-Position" = Position,
                     description = "Where to go on: send it as `after`. Of a stream, where it begins."))),
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
    if wants_stream(&caller.headers) {
        return stream(&api, caller, &query, filter).await;
    }
    page(&api, &caller, &query, &filter).await
}

/// Whether a stream is asked for; of both, the one named first.
fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut kinds = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let ours =
        |kind: &&str| kind.eq_ignore_ascii_case(EVENT_STREAM) || kind.eq_ignore_ascii_case("application/x-ndjson");
    kinds
        .find(ours)
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

async fn page(api: &CommandApi, caller: &Caller, query: &EventsQuery, filter: &EventFilter) -> Result<Response, Error> {
    let limit = limit(query, api.settings.events_page_max)?;
    let store = api.executor.store();
    let head = store.head_of(caller.tenant()).await?;
    let after = after(query, head)?;
    let page = store.read_tenant(caller.tenant(), filter, after, limit).await?;
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
    describe(&mut response, go_on);
    Ok(response)
}

async fn stream(api: &CommandApi, caller: Caller, query: &EventsQuery, filter: EventFilter) -> Result<Response, Error> {
    let limit = stream_limit(query)?;
    let store = api.executor.store().clone();
    let head = store.head_of(caller.tenant()).await?;
    let after = PositionToken {
        slot_position: resume(&caller.headers, query, head)?,
        ..head
    };
    let start = Start { filter, after, limit };
    let stream = EventStream::open(&api.streams, store, caller.principal, start)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        // Proxies such as nginx would otherwise gather what is to arrive at once.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    let mut response = (headers, Body::from_stream(stream.into_body())).into_response();
    describe(&mut response, after);
    Ok(response)
}

/// Another tenant's token gets another answer, so nothing between may keep it.
fn describe(response: &mut Response, position: PositionToken) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.extend(
        HeaderValue::try_from(position.to_string())
            .ok()
            .map(|token| (POSITION, token)),
    );
}

fn lines(events: impl Iterator<Item = EventView>) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    for event in events {
        serde_json::to_writer(&mut body, &event).map_err(|error| Error::Unexpected(error.into()))?;
        body.push(b'\n');
    }
    Ok(body)
}
