//! The one way in which every command of every aggregate runs: load, judge, decide, commit.
//!
//! Guarantee: a command that was accepted is stored exactly once, and whoever repeats it gets the
//! answer it was given. A refusal is judged, and a stored answer given, by the log itself, never by a
//! cached copy alone: what a copy holds may have been lost with the end of a log.
//!
//! Crash behaviour: nothing is kept between attempts. Whatever was acknowledged is in the log; a
//! caller that went away between commit and answer finds its command by key or id.
//!
//! Why not `cqrs_es::CqrsFramework::execute`: it returns no events, so neither version nor position
//! nor order number could be answered; it cannot look for a stored key between loading and
//! deciding; and its in-process queries would be lost on a crash. Its traits are called one by one.

use std::hash::{DefaultHasher, Hash, Hasher};

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, AggregateContext, AggregateError, EventEnvelope};
use domain::{Sequence, StoredEvent, StreamId};
use event_store::{AggregateStore, EventStore, Loaded, PositionToken};
use service::auth::Principal;
use tokio::sync::Mutex;

use crate::call::{Call, Meets, may_see};
use crate::catalogue::Known;
use crate::error::Error;
use crate::replay::stored_answer;

/// How many streams may be contended at once without sharing a queue.
const QUEUES: usize = 64;

/// Runs commands.
#[derive(Debug)]
pub(crate) struct Executor {
    store: EventStore,
    /// How often a command decides anew after losing to another before it gives up.
    max_conflicts: u32,
    /// Commands that lost once take turns, so that many writers on one stream each need one more
    /// attempt instead of starving each other. Not needed for correctness.
    queues: [Mutex<()>; QUEUES],
}

/// What a command did, or had done when it was first sent.
pub(crate) struct Done<A: Aggregate> {
    /// The aggregate right after the command.
    pub aggregate: A,
    /// Every event of the stream up to and including the command's.
    pub history: Vec<EventEnvelope<A>>,
    /// Whether this is the stored answer of an earlier attempt.
    pub replayed: bool,
}

impl<A: Aggregate> Done<A> {
    /// What these events, the first of a stream, amount to.
    pub(crate) fn of_history(history: Vec<EventEnvelope<A>>) -> Self {
        let mut aggregate = A::default();
        for event in &history {
            aggregate.apply(event.payload.clone());
        }
        Self {
            aggregate,
            history,
            replayed: false,
        }
    }

    /// The version that the command left the stream at.
    pub(crate) fn version(&self) -> Sequence {
        version(&self.history)
    }

    pub(crate) fn position(&self) -> Option<PositionToken> {
        self.history.last().and_then(event_store::token_of)
    }

    /// Whether the command opened the stream.
    pub(crate) fn opened(&self) -> bool {
        self.version() == Sequence(1)
    }
}

impl<A: Aggregate + Clone> Done<A> {
    /// What the command left behind, for the catalogue.
    pub(crate) fn known(&self) -> Known<A> {
        Known {
            aggregate: self.aggregate.clone(),
            version: self.version(),
        }
    }
}

/// Where a stream's state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Nothing is read: the stream is taken to be empty.
    Assumed,
    /// A copy kept from earlier. The append finds out if it is old; a refusal or a stored answer
    /// would not.
    Cached,
    /// The log itself.
    Log,
}

/// What one attempt came to, other than a refusal.
enum Attempt<A: Aggregate> {
    Done(Done<A>),
    /// Another command was stored first.
    Lost,
}

impl Executor {
    pub(crate) fn new(store: EventStore, max_conflicts: u32) -> Self {
        Self {
            store,
            max_conflicts,
            queues: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Runs a command. `command` is what it asks of the aggregate, or why that could not even be
    /// put together; a stored answer goes before that refusal too.
    ///
    /// # Errors
    /// Whatever refuses it; [`Error::Contention`] where others were always faster.
    pub(crate) async fn execute<A>(&self, call: &Call<'_>, command: Result<A::Command, Error>) -> Result<Done<A>, Error>
    where
        A: Aggregate<Services = ()> + Clone + 'static,
        A::Command: Clone,
        A::Event: StoredEvent,
        A::Error: Into<Error>,
    {
        let outcome = self.run(call, command).await;
        let name = match &outcome {
            Ok(done) if done.replayed => "replayed",
            Ok(_) => "accepted",
            Err(_) => "refused",
        };
        metrics::counter!("commands_total", "operation" => call.operation.as_str(), "outcome" => name).increment(1);
        outcome
    }

    async fn run<A>(&self, call: &Call<'_>, command: Result<A::Command, Error>) -> Result<Done<A>, Error>
    where
        A: Aggregate<Services = ()> + Clone + 'static,
        A::Command: Clone,
        A::Event: StoredEvent,
        A::Error: Into<Error>,
    {
        let streams = self.store.aggregates::<A>();
        let command = match command {
            Ok(command) => command,
            Err(refusal) => return stored_or(&streams, call, refusal).await,
        };
        let mut source = match call.meets {
            Meets::Nothing { .. } => Source::Assumed,
            Meets::Existing(_) | Meets::Whatever => Source::Cached,
        };
        let mut turn = None;
        let mut conflicts = 0;
        loop {
            match attempt(&streams, call, command.clone(), source).await {
                Ok(Attempt::Done(done)) if done.replayed && source == Source::Cached => {}
                Ok(Attempt::Done(done)) => return Ok(done),
                Ok(Attempt::Lost) if conflicts == self.max_conflicts => return Err(Error::Contention),
                Ok(Attempt::Lost) => {
                    conflicts += 1;
                    if turn.is_none() {
                        turn = Some(self.queue(call).lock().await);
                    }
                }
                Err(refusal) if source == Source::Log || !needs_log(call, &refusal) => return Err(refusal),
                Err(_) => {}
            }
            source = Source::Log;
        }
    }

    pub(crate) fn store(&self) -> &EventStore {
        &self.store
    }

    /// What the log holds of a stream now; `None` where there is nothing.
    ///
    /// # Errors
    /// 403 where it belongs to an establishment that the token does not name.
    pub(crate) async fn current<A>(&self, principal: &Principal, stream: &StreamId) -> Result<Option<Done<A>>, Error>
    where
        A: Aggregate<Services = ()> + Clone + 'static,
        A::Event: StoredEvent,
        A::Error: Into<Error>,
    {
        let loaded = load_current(&self.store.aggregates::<A>(), stream).await?;
        let history = loaded.envelopes.to_vec();
        let Some(last) = history.last() else {
            return Ok(None);
        };
        may_see(principal, &last.metadata)?;
        Ok(Some(Done {
            aggregate: loaded.aggregate,
            history,
            replayed: false,
        }))
    }

    fn queue(&self, call: &Call<'_>) -> &Mutex<()> {
        let mut hasher = DefaultHasher::new();
        call.stream.aggregate_id().hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % QUEUES as u64).unwrap_or_default();
        &self.queues[index]
    }
}

/// Whether a refusal that was not judged by the log must be judged again by it.
fn needs_log(call: &Call<'_>, refusal: &Error) -> bool {
    refusal.is_judgement() && call.meets != Meets::Nothing { named: false }
}

/// The stored answer of a command that would be refused today, or the refusal.
async fn stored_or<A>(streams: &AggregateStore<A>, call: &Call<'_>, refusal: Error) -> Result<Done<A>, Error>
where
    A: Aggregate<Services = ()> + Clone + 'static,
    A::Event: StoredEvent,
    A::Error: Into<Error>,
{
    if !needs_log(call, &refusal) {
        return Err(refusal);
    }
    let context = load(streams, call, Source::Log).await?;
    before_deciding(call, &context)?.ok_or(refusal)
}

async fn attempt<A>(
    streams: &AggregateStore<A>,
    call: &Call<'_>,
    command: A::Command,
    source: Source,
) -> Result<Attempt<A>, Error>
where
    A: Aggregate<Services = ()> + Clone + 'static,
    A::Event: StoredEvent,
    A::Error: Into<Error>,
{
    let mut context = load(streams, call, source).await?;
    if let Some(done) = before_deciding(call, &context)? {
        return Ok(Attempt::Done(done));
    }
    let sink = EventSink::default();
    context
        .aggregate()
        .handle(command, &(), &sink)
        .await
        .map_err(Into::into)?;
    let events = sink.collect().await;
    let aggregate = context.aggregate().clone();
    let before = context.envelopes.clone();
    let metadata = call.metadata(before.last().map(|event| &event.metadata));
    match cqrs_es::EventStore::commit(streams, events, context, metadata).await {
        Ok(committed) => Ok(Attempt::Done(Done {
            aggregate,
            history: before.iter().cloned().chain(committed).collect(),
            replayed: false,
        })),
        Err(AggregateError::AggregateConflict) => Ok(Attempt::Lost),
        Err(error) => Err(from_store(error)),
    }
}

/// What goes before any decision, in this order: rights, the key, existence, `If-Match`.
fn before_deciding<A>(call: &Call<'_>, context: &Loaded<A>) -> Result<Option<Done<A>>, Error>
where
    A: Aggregate,
{
    let history = context.envelopes.as_slice();
    call.may_change(history.last().map(|event| &event.metadata))?;
    if let Some(length) = stored_answer(call, history)? {
        let history = history.iter().take(length).cloned().collect();
        return Ok(Some(Done {
            replayed: true,
            ..Done::of_history(history)
        }));
    }
    let current = version(history);
    // What is not there has no version to be stale.
    if let Meets::Existing(missing) = call.meets
        && current == Sequence::NONE
    {
        return Err(Error::NotFound(missing));
    }
    if call.precondition.forbids_existing() && current > Sequence::NONE {
        return Err(Error::AlreadyExists { current });
    }
    if !call.precondition.holds(current) {
        return Err(Error::StaleVersion { current });
    }
    Ok(None)
}

async fn load<A>(streams: &AggregateStore<A>, call: &Call<'_>, source: Source) -> Result<Loaded<A>, Error>
where
    A: Aggregate<Services = ()> + Clone + 'static,
    A::Event: StoredEvent,
    A::Error: Into<Error>,
{
    match source {
        Source::Assumed => Ok(Loaded::fresh(call.stream.clone())),
        Source::Cached => cqrs_es::EventStore::load_aggregate(streams, call.stream.aggregate_id())
            .await
            .map_err(from_store),
        Source::Log => load_current(streams, &call.stream).await,
    }
}

/// A stream as the log holds it, past every cache.
pub(crate) async fn load_current<A>(streams: &AggregateStore<A>, stream: &StreamId) -> Result<Loaded<A>, Error>
where
    A: Aggregate<Services = ()> + Clone + 'static,
    A::Event: StoredEvent,
    A::Error: Into<Error>,
{
    Ok(streams.load_fresh(stream).await?)
}

/// The version that a history ends at.
fn version<A: Aggregate>(history: &[EventEnvelope<A>]) -> Sequence {
    Sequence(
        history
            .last()
            .map_or(0, |event| i64::try_from(event.sequence).unwrap_or(i64::MAX)),
    )
}

/// An error of the traits' back to what it was.
fn from_store<E: std::error::Error + Into<Error>>(error: AggregateError<E>) -> Error {
    match error {
        AggregateError::UserError(refusal) => refusal.into(),
        AggregateError::AggregateConflict => Error::Contention,
        AggregateError::DatabaseConnectionError(source)
        | AggregateError::DeserializationError(source)
        | AggregateError::UnexpectedError(source) => match source.downcast::<event_store::Error>() {
            Ok(error) => Error::Store(*error),
            Err(source) => Error::Unexpected(source),
        },
    }
}
