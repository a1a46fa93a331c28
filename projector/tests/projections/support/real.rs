//! The real log: filled from one in memory, read whole, and followed.

use domain::metadata::key;
use domain::{Event, EventId, Numbering, Sequence};
use event_store::{Append, EventStore, NewEvent, PositionToken, RecordedEvent};
use projector::Projector;
use service::Shutdown;
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use super::{ALL, PATIENCE, rows};

/// Appends what a log in memory holds to the real one, which assigns its own places and numbers.
pub(crate) async fn copy(store: &EventStore, events: &[RecordedEvent]) -> Vec<PositionToken> {
    let mut tokens = vec![];
    for event in events {
        let mut metadata = event.metadata.clone();
        metadata.remove(key::NUMBER);
        let numbering = match event.decode().expect("well-formed") {
            Event::Order(domain::order::OrderEvent::OrderCreated(created)) => Some(Numbering {
                establishment_id: created.establishment_id.clone(),
                business_date: created.business_date,
            }),
            Event::Order(_) | Event::Product(_) | Event::Establishment(_) => None,
        };
        let append = Append {
            stream: event.stream.clone(),
            expected: Sequence(event.sequence.0 - 1),
            numbering,
            events: vec![NewEvent {
                event_id: EventId(event.event_id.0),
                event_type: event.event_type.clone(),
                event_version: event.event_version.clone(),
                payload: event.payload.clone(),
                metadata,
            }],
        };
        tokens.push(store.append(append).await.expect("appended").token());
    }
    tokens
}

/// Everything that is in the real log, slot by slot.
pub(crate) async fn whole_log(store: &EventStore) -> Vec<RecordedEvent> {
    let mut events = vec![];
    for shard in store.shards() {
        for head in store.heads(shard).await.expect("heads") {
            let mut after = event_store::SlotPosition(0);
            while after < head.slot_position {
                let page = store.read_slot(head.slot, after, 500).await.expect("a page");
                after = page.last().expect("not empty").slot_position;
                events.extend(page);
            }
        }
    }
    events
}

/// A projector at work on shards' tails.
pub(crate) fn running(store: &EventStore, pool: &PgPool, settings: ProjectorSettings) -> (Projector, Shutdown) {
    let projector = Projector::new(store.clone(), pool.clone(), settings);
    let shutdown = Shutdown::new();
    let (this, stop) = (projector.clone(), shutdown.clone());
    shutdown.spawn("projector", async move { this.run(stop).await.expect("runs") });
    (projector, shutdown)
}

pub(crate) async fn reached(pool: &PgPool, projector: &Projector, token: &PositionToken) {
    tokio::time::timeout(PATIENCE, rows::reached(pool, projector.progress(), &ALL, token))
        .await
        .expect("reached");
}
