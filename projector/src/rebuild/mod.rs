//! Rebuilding read models beside the generations that are served.
//!
//! Guarantee: queries go on reading what is served until a generation that holds the whole log, was
//! found to be what the log says, and is behind the served one in no slot, takes its place by one
//! update of a pointer. Nothing else changes what a query reads.
//!
//! A rebuild makes a generation, fills it straight from the shards ([`fill`]), makes it `live` when
//! it is close to the heads, so that projectors feed it too, goes on until it has caught up, compares
//! it ([`check`]) and switches ([`switch`]). On a crash, at any of these steps, running it again goes
//! on from the checkpoints. Not needed for correctness: the lease that keeps a second one away, and
//! projectors that run; without any, the rebuild feeds the generation itself.
//!
//! Memory: see [`fill`]; and the hash of each tenant while generations are compared.

mod as_of;
mod begin;
mod check;
mod compare;
mod discard;
mod estimate;
mod fill;
mod hold;
pub(crate) mod metrics;
mod range;
mod status;
mod switch;

use std::time::Duration;

use event_store::{Cursor, EventStore};
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use tokio::time::{Instant, sleep, sleep_until};

pub use self::as_of::cursor_at;
use self::begin::Begun;
pub use self::check::{Checked, Differing};
pub use self::discard::drop;
use self::fill::Filler;
use self::hold::Holding;
pub use self::hold::{Phase, Status};
pub use self::range::RangeStatus;
pub use self::status::{GenerationStatus, RebuildStatus, list};
pub use self::switch::{Switched, rollback, switch};
use crate::error::Error;
use crate::generation::Generation;
use crate::model::Registered;

/// So close to the heads that projectors may join in: what they then read by slots is little.
const NEAR: i64 = 5_000;
/// Pause between looks at a distance that others may close.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long after it became live every projector feeds a generation, as good as certainly. Before, the
/// served one may run ahead of it, and a query that resolved that one a moment ago would see more than
/// the next.
const LEARNED: Duration = Duration::from_secs(2);
/// Failures in a row, with pauses that double from a quarter second, after which filling ends.
const FAILURES: u32 = 6;

/// When queries are sent to the new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchWhen {
    /// As soon as it has been found right.
    Verified,
    /// When an operator says so ([`switch`]).
    Asked,
}

/// How to rebuild.
#[derive(Debug, Clone)]
pub struct Options {
    /// Slots filled at the same time; each takes a connection of the read store, and two more are
    /// needed.
    pub workers: usize,
    /// Events in one transaction, about.
    pub chunk: usize,
    pub switch: SwitchWhen,
    /// Whether to give up what an interrupted rebuild has filled.
    pub from_scratch: bool,
    /// Who does it, as others are told.
    pub holder: String,
    /// How long after the last sign of life somebody else may go on with it.
    pub lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 4,
            chunk: 4_000,
            switch: SwitchWhen::Verified,
            from_scratch: false,
            holder: "somebody".to_owned(),
            lease: Duration::from_secs(5),
        }
    }
}

/// Told how a rebuild is going, about once a second and whenever its phase changes.
pub type Observer<'a> = &'a (dyn Fn(&Status) + Send + Sync);

/// What became of one read model.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    pub read_model: &'static str,
    pub generation: i32,
    pub checked: Checked,
    /// `None` where no switch was wanted, or the generation is not what was to be.
    pub switched: Option<Switched>,
}

/// The registered read models of these names, in the registry's order; all where none is named.
///
/// # Errors
/// [`Error::UnknownReadModel`].
pub fn named(names: &[String]) -> Result<Vec<Registered>, Error> {
    let all = crate::registry::all();
    let unknown = names.iter().find(|name| !all.iter().any(|model| model.name == **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = all.iter().map(|model| model.name).collect();
        return Err(Error::UnknownReadModel {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    let wanted = |model: &Registered| names.is_empty() || names.iter().any(|name| name == model.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// Fills a new generation of each of these read models, or goes on with one that was interrupted;
/// verifies it, and where that is wanted has it served. May be dropped or killed at any time: run it
/// again.
///
/// # Errors
/// [`Error::RebuildRunning`] where another one is at it; whatever keeps the databases from being
/// read or written for longer than a few seconds. What was filled stays.
pub async fn rebuild(
    store: &EventStore,
    read_store: &PgPool,
    models: &[Registered],
    options: &Options,
    observer: Observer<'_>,
) -> Result<Vec<Rebuilt>, Error> {
    let run = Run::begin(store, read_store, models, None, options).await?;
    run.holding
        .during(run.to_the_heads(options.switch), &run.filler, observer)
        .await
}

/// Fills a generation of each of these read models with the log up to `as_of`, and no further.
/// Nothing feeds it, and no query reads it that does not name it. Going on with an interrupted one
/// works as for [`rebuild`].
///
/// # Errors
/// As for [`rebuild`]; [`Error::NotInLog`] where the log has not come that far, or lost it.
pub async fn build(
    store: &EventStore,
    read_store: &PgPool,
    models: &[Registered],
    as_of: &Cursor,
    options: &Options,
    observer: Observer<'_>,
) -> Result<Vec<(&'static str, i32)>, Error> {
    as_of::check(store, as_of).await?;
    let run = Run::begin(store, read_store, models, Some(as_of), options).await?;
    run.holding.during(run.to_the_position(), &run.filler, observer).await
}

struct Run {
    filler: Filler,
    holding: Holding,
}

impl Run {
    async fn begin(
        store: &EventStore,
        read_store: &PgPool,
        models: &[Registered],
        as_of: Option<&Cursor>,
        options: &Options,
    ) -> Result<Self, Error> {
        let written = as_of.map(ToString::to_string);
        let begun = begin::begin(read_store, models, written.as_deref(), options).await?;
        let Begun {
            lease,
            filling,
            resumed,
            abandoned,
        } = begun;
        tracing::info!(
            generations = ?filling.iter().map(|fed| fed.generation.schema.as_str()).collect::<Vec<_>>(),
            resumed,
            "filling"
        );
        for (read_model, generation) in abandoned {
            // Nobody ever read it.
            discard::drop(read_store, read_model, generation, Duration::ZERO).await?;
        }
        Ok(Self {
            filler: Filler {
                store: store.clone(),
                read_store: read_store.clone(),
                filling,
                as_of: as_of.cloned(),
                workers: options.workers.max(1),
                chunk: options.chunk.max(1),
            },
            holding: Holding::new(read_store.clone(), lease, options.lease),
        })
    }

    async fn to_the_heads(&self, when: SwitchWhen) -> Result<Vec<Rebuilt>, Error> {
        self.fill_until(NEAR).await?;
        let generations = self.filler.generations();
        switch::make_live(&self.filler.read_store, &generations).await?;
        let learned = Instant::now() + LEARNED;
        self.catch_up(&generations).await?;
        self.holding.enter(Phase::Verifying).await?;
        let checked = check::check(&self.filler.store, &self.filler.read_store, &generations).await?;
        if when == SwitchWhen::Verified {
            sleep_until(learned).await;
        }
        let mut rebuilt = vec![];
        for (generation, checked) in generations.iter().zip(checked) {
            let switched = match (checked.is_right(), when) {
                (true, SwitchWhen::Verified) => Some(self.switch_to(generation).await?),
                (true, SwitchWhen::Asked) => self.holding.record(generation, "ready").await?,
                (false, _) => self.holding.record(generation, "differs").await?,
            };
            rebuilt.push(Rebuilt {
                read_model: generation.read_model,
                generation: generation.number,
                checked,
                switched,
            });
        }
        self.holding.enter(Phase::Done).await?;
        Ok(rebuilt)
    }

    async fn to_the_position(&self) -> Result<Vec<(&'static str, i32)>, Error> {
        self.fill_until(0).await?;
        let generations = self.filler.generations();
        for generation in &generations {
            switch::make_scratch(&self.filler.read_store, generation).await?;
        }
        self.holding.enter(Phase::Done).await?;
        Ok(generations.iter().map(|it| (it.read_model, it.number)).collect())
    }

    /// Reads what is there, again and again, until no more than `near` is missing. Databases that
    /// fail are tried again for a few seconds.
    async fn fill_until(&self, near: i64) -> Result<(), Error> {
        let (mut failures, mut pause) = (0, Duration::from_millis(250));
        loop {
            let done = async {
                let outlook = self.filler.look().await?;
                let there = outlook.remaining <= near;
                self.filler.fill(outlook).await?;
                Ok::<bool, Error>(there)
            };
            match done.await {
                Ok(true) => return Ok(()),
                Ok(false) => (failures, pause) = (0, Duration::from_millis(250)),
                Err(error) if error.needs_an_operator() || failures == FAILURES => return Err(error),
                Err(error) => {
                    let why = crate::error::described(&error);
                    tracing::warn!(error = why, "filling failed; trying again");
                    failures += 1;
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    /// Goes on reading, beside the projectors, until no slot is behind what is served.
    async fn catch_up(&self, generations: &[Generation]) -> Result<(), Error> {
        for generation in generations {
            while switch::behind(&self.filler.read_store, generation).await?.is_some() {
                self.fill_until(NEAR).await?;
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    async fn switch_to(&self, generation: &Generation) -> Result<Switched, Error> {
        loop {
            let switched = switch::after_rebuild(&self.filler.read_store, generation).await;
            match switched {
                // The served one went ahead meanwhile.
                Err(Error::Behind { .. }) => {
                    self.fill_until(NEAR).await?;
                    sleep(LOOK_AGAIN).await;
                }
                other => return other,
            }
        }
    }
}

/// A time as PostgreSQL adds it to others.
fn interval(duration: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
    }
}
