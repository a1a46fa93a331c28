//! One kind of aggregate as `cqrs-es` sees it: load, decide, commit.

use std::sync::Arc;

use cqrs_es::persist::{PersistedEventRepository, PersistenceError};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent, EventEnvelope};
use domain::metadata::key;
use domain::{EventId, Metadata, Sequence, StoredEvent, StreamId};
use serde_json::value::to_raw_value;

use crate::append::{Append, Committed, NewEvent};
use crate::batch::ASSIGNED;
use crate::branch::Epoch;
use crate::cache::{Folded, StreamCache};
use crate::decode;
use crate::edge::{fresh_event_id, further_event_id};
use crate::error::{Cause, Error};
use crate::ids::Slot;
use crate::shard::Shard;
use crate::store::EventStore;

/// How often a stream is read whose slot is on the move.
const READINGS: usize = 4;

/// An aggregate with what its next commit needs to know.
#[derive(Debug, Clone)]
pub struct Loaded<A: Aggregate> {
    /// The state to decide on. `Aggregate::handle` applies what it decides to it.
    pub aggregate: A,
    pub stream: StreamId,
    /// The version that the stream was loaded at, and that the commit expects.
    pub version: Sequence,
    /// The events that the state was folded from, with what the log assigned to each.
    pub envelopes: Arc<Vec<EventEnvelope<A>>>,
    /// The state as loaded: `handle` changes `aggregate`, and folding the same events into that
    /// again would apply them twice.
    loaded: Arc<A>,
    /// When it was read; `None` where it was not.
    epoch: Option<Epoch>,
}

impl<A: Aggregate + Clone> Loaded<A> {
    /// A stream taken to have no events yet, without reading it: the commit finds out.
    pub fn fresh(stream: StreamId) -> Self {
        let state = Arc::new(A::default());
        Self {
            aggregate: A::clone(&state),
            stream,
            version: Sequence::NONE,
            envelopes: Arc::default(),
            loaded: state,
            epoch: None,
        }
    }

    fn from_folded(stream: StreamId, folded: Folded<A>) -> Self {
        let Folded {
            state,
            version,
            envelopes,
            epoch,
        } = folded;
        Self {
            aggregate: A::clone(&state),
            stream,
            version,
            envelopes,
            loaded: state,
            epoch: Some(epoch),
        }
    }
}

impl<A: Aggregate> AggregateContext<A> for Loaded<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

/// The streams of one kind of aggregate.
pub struct AggregateStore<A: Aggregate> {
    store: EventStore,
    cache: Arc<StreamCache<A>>,
}

impl<A> AggregateStore<A>
where
    A: Aggregate + Clone + 'static,
    A::Event: StoredEvent,
{
    pub(crate) fn new(store: EventStore, cache: Arc<StreamCache<A>>) -> Self {
        Self { store, cache }
    }

    /// The aggregate, from the cache where it is there: good for deciding, because a commit on
    /// something stale is a conflict; not for showing it to anyone. Version 0 where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::NotOwned`], [`Error::Undecodable`].
    pub async fn load(&self, stream: &StreamId) -> Result<Loaded<A>, Error> {
        match self.cache.get(stream, self.store.epoch()) {
            Some(folded) => Ok(Loaded::from_folded(stream.clone(), folded)),
            None => self.load_fresh(stream).await,
        }
    }

    /// The aggregate as the log has it now. Version 0 where there is none.
    ///
    /// # Errors
    /// As [`AggregateStore::load`].
    pub async fn load_fresh(&self, stream: &StreamId) -> Result<Loaded<A>, Error> {
        // Before reading: what is seen meanwhile may be what was read.
        let epoch = self.store.epoch();
        let envelopes = self.read(stream).await?;
        let version = envelopes.last().map_or(Sequence::NONE, sequence_of);
        let folded = Folded {
            state: Arc::new(fold(A::default(), &envelopes)),
            version,
            envelopes: Arc::new(envelopes),
            epoch,
        };
        self.cache.put(stream, folded.clone());
        Ok(Loaded::from_folded(stream.clone(), folded))
    }

    /// Stores what was decided. `metadata` goes with every event; an `event_id` in it becomes the
    /// first event's. Returns the events with what the log assigned; nothing for no events.
    ///
    /// # Errors
    /// [`Error`]; after a conflict the stream is no longer cached, so loading again reads it.
    pub async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Loaded<A>,
        metadata: Metadata,
    ) -> Result<Vec<EventEnvelope<A>>, Error> {
        let Some(first) = events.first() else {
            return Ok(Vec::new());
        };
        let (stream, numbering) = (context.stream.clone(), first.numbering());
        let new = new_events::<A>(&stream, &events, metadata)?;
        let append = Append {
            stream: stream.clone(),
            expected: context.version,
            numbering,
            events: new.clone(),
        };
        let begun = context.epoch.unwrap_or_else(|| self.store.epoch());
        let committed = self
            .store
            .append_decided(append, context.epoch)
            .await
            .inspect_err(|error| {
                if matches!(error, Error::Conflict { .. }) {
                    self.cache.forget(&stream);
                }
            })?;
        let stored = stored_envelopes(&stream, events, new, &committed);
        self.remember(context, &stored, begun);
        Ok(stored)
    }

    fn remember(&self, context: Loaded<A>, stored: &[EventEnvelope<A>], epoch: Epoch) {
        let Some(last) = stored.last() else { return };
        let state = fold(A::clone(&context.loaded), stored);
        let envelopes = context.envelopes.iter().chain(stored).cloned().collect();
        let folded = Folded {
            state: Arc::new(state),
            version: sequence_of(last),
            envelopes: Arc::new(envelopes),
            epoch,
        };
        self.cache.put(&context.stream, folded);
    }

    async fn read(&self, stream: &StreamId) -> Result<Vec<EventEnvelope<A>>, Error> {
        let slot = Slot::of(stream.tenant());
        let mut shard = self.store.owner(slot).await?;
        for _ in 0..READINGS {
            let stored = self.read_from(&shard, stream).await?;
            if !stored.is_empty() {
                return Ok(stored);
            }
            // A shard shows nothing of a slot it does not own. Nothing may be the truth, or say so.
            match shard.has_events(slot, stream).await? {
                Some(false) => return Ok(stored),
                // The slot was shut when the stream was read.
                Some(true) => {}
                None => shard = self.store.owner_after_refresh(slot).await?,
            }
        }
        Err(Error::NotOwned { slot })
    }

    async fn read_from(&self, shard: &Shard, stream: &StreamId) -> Result<Vec<EventEnvelope<A>>, Error> {
        let stored = shard
            .streams
            .get_events::<A>(stream.aggregate_id())
            .await
            .map_err(|error| match error {
                PersistenceError::ConnectionError(source)
                | PersistenceError::DeserializationError(source)
                | PersistenceError::UnknownError(source) => Error::Unavailable {
                    reason: "a stream could not be read",
                    source: Some(Cause::from(source)),
                },
                PersistenceError::OptimisticLockError => Error::Unavailable {
                    reason: "a stream could not be read",
                    source: None,
                },
            })?;
        decode::envelopes(stream, stored)
    }

    fn stream(aggregate_id: &str) -> Result<StreamId, Error> {
        StreamId::from_stored(A::TYPE, aggregate_id).ok_or_else(|| Error::NotAStream {
            aggregate_type: A::TYPE,
            aggregate_id: aggregate_id.to_owned(),
        })
    }
}

impl<A> cqrs_es::EventStore<A> for AggregateStore<A>
where
    A: Aggregate + Clone + 'static,
    A::Event: StoredEvent,
{
    type AC = Loaded<A>;

    async fn load_events(&self, aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        Ok(self.read(&Self::stream(aggregate_id)?).await?)
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<Loaded<A>, AggregateError<A::Error>> {
        Ok(self.load(&Self::stream(aggregate_id)?).await?)
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Loaded<A>,
        metadata: Metadata,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        Ok(Self::commit(self, events, context, metadata).await?)
    }
}

impl<A: Aggregate> Clone for AggregateStore<A> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            cache: Arc::clone(&self.cache),
        }
    }
}

impl<A: Aggregate> std::fmt::Debug for AggregateStore<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AggregateStore")
            .field("kind", &A::TYPE)
            .field("cache", &self.cache)
            .finish()
    }
}

impl Shard {
    /// Whether a stream has events here; `None` where the shard does not own its slot. As of one moment.
    async fn has_events(&self, slot: Slot, stream: &StreamId) -> Result<Option<bool>, Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM events WHERE aggregate_type = $2 AND aggregate_id = $3) \
               FROM slots WHERE slot = $1 AND owned",
        )
        .bind(slot.as_i16())
        .bind(stream.kind().as_str())
        .bind(stream.aggregate_id())
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::read)
    }
}

fn fold<A: Aggregate>(mut state: A, envelopes: &[EventEnvelope<A>]) -> A {
    for envelope in envelopes {
        state.apply(envelope.payload.clone());
    }
    state
}

fn sequence_of<A: Aggregate>(envelope: &EventEnvelope<A>) -> Sequence {
    Sequence(i64::try_from(envelope.sequence).unwrap_or(i64::MAX))
}

fn new_events<A: Aggregate>(
    stream: &StreamId,
    events: &[A::Event],
    mut metadata: Metadata,
) -> Result<Vec<NewEvent>, Error> {
    let reject = |reason: String| Error::Rejected {
        stream: stream.clone(),
        reason,
    };
    let first_id = match metadata.get(key::EVENT_ID) {
        Some(id) => EventId(id.parse().map_err(|_| reject("event_id is not a UUID".to_owned()))?),
        None => fresh_event_id(),
    };
    metadata.retain(|name, _| !ASSIGNED.contains(&name.as_str()));
    metadata.insert(key::TENANT_ID.to_owned(), stream.tenant().to_string());
    let one = |(index, event): (usize, &A::Event)| {
        Ok(NewEvent {
            event_id: if index == 0 {
                first_id
            } else {
                further_event_id(first_id, index)
            },
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload: to_raw_value(event).map_err(|error| reject(error.to_string()))?,
            metadata: metadata.clone(),
        })
    };
    events.iter().enumerate().map(one).collect()
}

/// The events as loading them would give them, without reading them back.
fn stored_envelopes<A: Aggregate>(
    stream: &StreamId,
    events: Vec<A::Event>,
    new: Vec<NewEvent>,
    committed: &Committed,
) -> Vec<EventEnvelope<A>> {
    let places = committed.events.iter().enumerate();
    let one = |((payload, new), (index, place)): ((A::Event, NewEvent), (usize, &crate::append::Placed))| {
        let mut metadata = new.metadata;
        let mut assign = |name: &str, value: String| metadata.insert(name.to_owned(), value);
        assign(key::EVENT_ID, new.event_id.to_string());
        assign(key::SLOT, committed.slot.to_string());
        assign(key::SLOT_POSITION, place.slot_position.to_string());
        assign(key::INCARNATION, committed.incarnation.to_string());
        assign(key::RECORDED_AT, place.recorded_at.to_string());
        if let Some(number) = committed.number.filter(|_| index == 0) {
            assign(key::NUMBER, number.to_string());
        }
        EventEnvelope {
            aggregate_id: stream.aggregate_id().to_owned(),
            sequence: usize::try_from(place.sequence.0).unwrap_or_default(),
            payload,
            metadata,
        }
    };
    events.into_iter().zip(new).zip(places).map(one).collect()
}
