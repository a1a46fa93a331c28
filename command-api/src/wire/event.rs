//! Stored events as they are shown.

use cqrs_es::{Aggregate, DomainEvent as _, EventEnvelope};
use domain::metadata::key;
use domain::{Event, Metadata, Sequence, StreamId, Timestamp};
use event_store::{PositionToken, RecordedEvent};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::schema::{EventTypeName, Id, Instant, Position, UuidText};

/// One event, as it was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Event", as = Event)]
pub(crate) struct EventView {
    #[schema(value_type = UuidText)]
    id: String,
    #[serde(rename = "type")]
    #[schema(value_type = EventTypeName)]
    event_type: String,
    /// Of the shape of `data`.
    #[schema(example = "1.0")]
    version: String,
    #[schema(value_type = Id)]
    tenant_id: String,
    #[schema(value_type = Option<Id>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    establishment_id: Option<String>,
    /// What kind of thing it happened to: `order`, `product` or `establishment`.
    #[schema(example = "order")]
    aggregate_type: &'static str,
    /// Which one.
    #[schema(value_type = Id)]
    aggregate_id: String,
    /// Counts the events of that one thing.
    #[schema(value_type = i64, minimum = 1)]
    sequence: Sequence,
    /// Its place in the tenant's log; where `GET /v1/events?after=` goes on.
    #[schema(value_type = Position)]
    position: String,
    /// When the log recorded it.
    #[schema(value_type = Instant)]
    recorded_at: Timestamp,
    /// When it happened, by the device's clock.
    #[schema(value_type = Option<Instant>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    /// Who did it: the token's `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    /// The order's number, on its first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<i64>,
    /// What happened, in the shape of `type` and `version`.
    #[schema(value_type = Object)]
    data: Value,
}

/// What makes one event differ from others of its stream.
struct Stored {
    id: String,
    event_type: String,
    version: String,
    sequence: Sequence,
    position: PositionToken,
    recorded_at: Timestamp,
    data: Value,
}

/// The events of one order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    events: Vec<EventView>,
}

impl EventList {
    /// `None` where an event did not come from the log.
    pub(crate) fn of<A: Aggregate>(stream: &StreamId, history: &[EventEnvelope<A>]) -> Option<Self> {
        let events = history
            .iter()
            .map(|event| EventView::of(stream, event))
            .collect::<Option<_>>()?;
        Some(Self { events })
    }
}

impl EventView {
    /// Of an event of an aggregate's stream. `None` where it did not come from the log.
    fn of<A: Aggregate>(stream: &StreamId, event: &EventEnvelope<A>) -> Option<Self> {
        let metadata = &event.metadata;
        let stored = Stored {
            id: metadata.get(key::EVENT_ID)?.clone(),
            event_type: event.payload.event_type(),
            version: event.payload.event_version(),
            sequence: Sequence(i64::try_from(event.sequence).ok()?),
            position: event_store::token_of(event)?,
            recorded_at: metadata.get(key::RECORDED_AT)?.parse().ok()?,
            data: serde_json::to_value(&event.payload).ok()?,
        };
        Some(Self::new(stored, stream, metadata))
    }

    /// Of an event of the tenant's log: in today's shape, or as it was stored where this version
    /// cannot read it. An analyst would rather see it than lose it.
    pub(crate) fn of_recorded(event: &RecordedEvent) -> Self {
        let today = event.decode().ok().and_then(|decoded| {
            let kind = decoded.event_type();
            Some((kind.as_str().to_owned(), kind.version().to_owned(), data_of(&decoded)?))
        });
        let (event_type, version, data) = today.unwrap_or_else(|| {
            let data = serde_json::from_str(event.payload.get()).unwrap_or_default();
            (event.event_type.clone(), event.event_version.clone(), data)
        });
        let stored = Stored {
            id: event.event_id.to_string(),
            event_type,
            version,
            sequence: event.sequence,
            position: event.token(),
            recorded_at: event.recorded_at,
            data,
        };
        Self::new(stored, &event.stream, &event.metadata)
    }

    pub(crate) fn event_type(&self) -> &str {
        &self.event_type
    }

    fn new(stored: Stored, stream: &StreamId, metadata: &Metadata) -> Self {
        let entry = |name: &str| metadata.get(name).cloned();
        Self {
            id: stored.id,
            event_type: stored.event_type,
            version: stored.version,
            tenant_id: stream.tenant().to_string(),
            establishment_id: entry(key::ESTABLISHMENT_ID),
            aggregate_type: stream.kind().as_str(),
            aggregate_id: stream.id().to_owned(),
            sequence: stored.sequence,
            position: stored.position.to_string(),
            recorded_at: stored.recorded_at,
            occurred_at: entry(key::OCCURRED_AT),
            actor: entry(key::ACTOR),
            correlation_id: entry(key::CORRELATION_ID),
            causation_id: entry(key::CAUSATION_ID),
            idempotency_key: entry(key::IDEMPOTENCY_KEY),
            number: metadata.get(key::NUMBER).and_then(|number| number.parse().ok()),
            data: stored.data,
        }
    }
}

fn data_of(event: &Event) -> Option<Value> {
    match event {
        Event::Order(event) => serde_json::to_value(event),
        Event::Product(event) => serde_json::to_value(event),
        Event::Establishment(event) => serde_json::to_value(event),
    }
    .ok()
}
