//! A [`Projection`] at work: states remembered between batches, events folded, rows written.
//!
//! The cache only saves reads. What it holds is what the rows held when this projector's last batch
//! was committed; the compare-and-set of the slot's checkpoint proves, before anything is written,
//! that nobody has written since.

use std::collections::{BTreeSet, HashMap};

use domain::{AggregateType, Event, StreamId};
use event_store::{RecordedEvent, Slot};
use futures::future::BoxFuture;
use quick_cache::unsync::Cache;
use sqlx::PgConnection;

use crate::projection::{Change, Projection, Schema, StreamEvent, WriteError};

/// Streams whose state one feed remembers, per read model. A few hundred bytes each.
const CACHED_STREAMS: usize = 4_096;

/// An event on its way, decoded once for every read model.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) recorded: RecordedEvent,
    /// The content, or why it is malformed.
    pub(crate) content: Result<Event, String>,
}

/// Consecutive events of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Stretch<'a> {
    pub(crate) stream: &'a StreamId,
    pub(crate) slot: Slot,
    /// Never empty.
    pub(crate) events: Vec<&'a Incoming>,
}

/// A stretch's event that a read model cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Poison {
    /// Which stretch.
    pub(crate) stretch: usize,
    /// Which of its events; those before it were applied.
    pub(crate) event: usize,
    pub(crate) error: String,
}

/// A read model as registered; each feed makes its own instance of it.
#[derive(Debug, Clone)]
pub struct Registered {
    pub(crate) name: &'static str,
    pub(crate) code_version: i32,
    make: Maker,
}

type Factory = dyn Fn() -> Box<dyn ReadModel> + Send + Sync;

#[derive(Clone)]
struct Maker(std::sync::Arc<Factory>);

impl std::fmt::Debug for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Maker")
    }
}

impl Registered {
    pub fn new<P: Projection>(projection: P) -> Self {
        Self {
            name: P::NAME,
            code_version: P::CODE_VERSION,
            make: Maker(std::sync::Arc::new(move || Box::new(Model::new(projection.clone())))),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn instance(&self) -> Box<dyn ReadModel> {
        (self.make.0)()
    }
}

/// What the engine needs of a read model, whatever its state is.
pub(crate) trait ReadModel: Send + Sync {
    fn reads(&self, kind: AggregateType) -> bool;

    /// Folds the stretches and writes their rows inside the caller's transaction. A stretch with
    /// poison is applied up to it. Streams must differ.
    fn apply<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: &'a Schema,
        stretches: &'a [Stretch<'a>],
    ) -> BoxFuture<'a, Result<Vec<Poison>, WriteError>>;

    /// The transaction was committed: what it wrote may be remembered.
    fn committed(&mut self);

    /// The transaction is gone: what it wrote never was.
    fn rolled_back(&mut self);

    /// Somebody else wrote to these slots.
    fn forget(&mut self, slots: &BTreeSet<Slot>);

    /// Somebody else will write to this stream once the transaction is committed.
    fn forget_stream(&mut self, stream: &StreamId);
}

struct Remembered<S> {
    slot: Slot,
    state: S,
}

struct Model<P: Projection> {
    projection: P,
    cache: Cache<StreamId, Remembered<P::State>>,
    /// Written in the open transaction; `None`: written, but to be loaded again.
    pending: HashMap<StreamId, Option<Remembered<P::State>>>,
}

impl<P: Projection> Model<P> {
    fn new(projection: P) -> Self {
        Self {
            projection,
            cache: Cache::new(CACHED_STREAMS),
            pending: HashMap::new(),
        }
    }

    /// The states of the stretches' streams as their rows stand.
    async fn states(
        &mut self,
        connection: &mut PgConnection,
        schema: &Schema,
        stretches: &[Stretch<'_>],
    ) -> Result<Vec<Option<P::State>>, sqlx::Error> {
        let mut states = Vec::with_capacity(stretches.len());
        let mut unknown = vec![];
        for (index, stretch) in stretches.iter().enumerate() {
            let known = match self.pending.get(stretch.stream) {
                Some(pending) => pending.as_ref(),
                None => self.cache.get(stretch.stream),
            };
            states.push(known.map(|known| known.state.clone()));
            // A stream's first event finds no rows.
            let first = stretch
                .events
                .first()
                .is_some_and(|incoming| incoming.recorded.sequence.0 == 1);
            if known.is_none() && !first {
                unknown.push(index);
            }
        }
        if !unknown.is_empty() {
            let streams: Vec<&StreamId> = unknown.iter().map(|index| stretches[*index].stream).collect();
            for (found, state) in self.projection.load(connection, schema, &streams).await? {
                states[unknown[found]] = Some(state);
            }
        }
        Ok(states)
    }

    async fn fold_and_write(
        &mut self,
        connection: &mut PgConnection,
        schema: &Schema,
        stretches: &[Stretch<'_>],
    ) -> Result<Vec<Poison>, WriteError> {
        let befores = self.states(connection, schema, stretches).await?;
        let mut poisons = vec![];
        let mut afters = Vec::with_capacity(stretches.len());
        for (index, (stretch, before)) in stretches.iter().zip(&befores).enumerate() {
            let (after, poison) = self.fold(stretch, before.as_ref());
            afters.push((after, poison.is_some()));
            poisons.extend(poison.map(|(event, error)| Poison {
                stretch: index,
                event,
                error,
            }));
        }
        let changes: Vec<Change<'_, P::State>> = stretches
            .iter()
            .zip(&befores)
            .zip(&afters)
            .filter_map(|((stretch, before), (after, _))| {
                Some(Change {
                    stream: stretch.stream,
                    before: before.as_ref(),
                    after: after.as_ref()?,
                })
            })
            .collect();
        if !changes.is_empty() {
            self.projection.write(connection, schema, &changes).await?;
        }
        for (stretch, (after, poisoned)) in stretches.iter().zip(afters) {
            // A parked stream's rows change behind our back when it is retried.
            let kept = after
                .filter(|_| !poisoned)
                .and_then(|state| self.projection.settled(state));
            let kept = kept.map(|state| Remembered {
                slot: stretch.slot,
                state,
            });
            self.pending.insert(stretch.stream.clone(), kept);
        }
        Ok(poisons)
    }

    /// The state after as many events as can be folded (`None` where that is none of them), and
    /// which event stopped the fold, and why.
    fn fold(&self, stretch: &Stretch<'_>, before: Option<&P::State>) -> (Option<P::State>, Option<(usize, String)>) {
        let mut after: Option<P::State> = None;
        for (index, incoming) in stretch.events.iter().enumerate() {
            let folded = match &incoming.content {
                Err(malformed) => Err(malformed.clone()),
                Ok(event) => {
                    let event = StreamEvent {
                        stream: stretch.stream,
                        sequence: incoming.recorded.sequence,
                        event,
                        metadata: &incoming.recorded.metadata,
                        recorded_at: incoming.recorded.recorded_at,
                    };
                    self.projection
                        .fold(after.as_ref().or(before), &event)
                        .map_err(|error| error.to_string())
                }
            };
            match folded {
                Ok(state) => after = Some(state),
                Err(error) => return (after, Some((index, error))),
            }
        }
        (after, None)
    }
}

impl<P: Projection> ReadModel for Model<P> {
    fn reads(&self, kind: AggregateType) -> bool {
        self.projection.reads(kind)
    }

    fn apply<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        schema: &'a Schema,
        stretches: &'a [Stretch<'a>],
    ) -> BoxFuture<'a, Result<Vec<Poison>, WriteError>> {
        Box::pin(self.fold_and_write(connection, schema, stretches))
    }

    fn committed(&mut self) {
        for (stream, state) in self.pending.drain() {
            match state {
                Some(state) => self.cache.insert(stream, state),
                None => {
                    self.cache.remove(&stream);
                }
            }
        }
    }

    fn rolled_back(&mut self) {
        self.pending.clear();
    }

    fn forget(&mut self, slots: &BTreeSet<Slot>) {
        self.pending.clear();
        self.cache.retain(|_, remembered| !slots.contains(&remembered.slot));
    }

    fn forget_stream(&mut self, stream: &StreamId) {
        self.pending.insert(stream.clone(), None);
    }
}
