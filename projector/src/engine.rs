//! Applying runs of events: rows and checkpoints in one transaction.
//!
//! Guarantee: each event changes each read model exactly once, whoever delivers it and however
//! often, and whoever else tries to. The compare-and-set of the slot's checkpoint, in the
//! transaction that writes the rows, is all that this rests on.
//!
//! On a crash the open transaction is gone and nothing else was ever kept: the checkpoints say
//! where to go on. Not needed for correctness: the cached states and checkpoints (the
//! compare-and-set judges them), and being the only projector (another one costs work, not rows).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use event_store::{Incarnation, Slot, SlotPosition};
use sqlx::{PgConnection, PgPool};

use crate::checkpoint::{self, Checkpoint, ModelIndex, Step};
use crate::error::Error;
use crate::fault::Fault;
use crate::generation::{Fed, Generation};
use crate::intake::Run;
use crate::isolate::apply_around_poison;
use crate::model::{ReadModel, Stretch};
use crate::parked::{self, Parking};
use crate::progress::Progress;
use crate::projection::WriteError;
use crate::stretches::stretches;

/// How long a batch may take before it is given up and tried again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Begins a batch. Its statements are look-ups of a few rows by key, and their plans are kept with
/// the connection: one made while a table was small must not still scan it when it is large. And
/// where planners are told to avoid scans, their cost estimates wake the JIT compiler for nothing.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off; \
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off";

/// Begins a batch of a generation that nobody reads yet. A server that crashes may lose the last
/// ones, rows and checkpoints together; whatever is committed durably later has them before it.
const BEGIN_BULK: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off; \
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; \
    SET LOCAL synchronous_commit = off";

/// What became of some runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Events that at least one read model had not seen.
    pub(crate) events: usize,
    /// Streams parked by a read model.
    pub(crate) parked: usize,
    /// Slots of which not everything could be applied, and the position to read them up to.
    pub(crate) behind: BTreeMap<Slot, SlotPosition>,
}

pub(crate) struct Engine {
    read_store: PgPool,
    generations: Vec<Generation>,
    models: Vec<Box<dyn ReadModel>>,
    checkpoints: HashMap<(ModelIndex, Slot), Checkpoint>,
    /// Slots whose checkpoints must be read again before they are relied on.
    doubtful: BTreeSet<Slot>,
    /// Later incarnations of slots, as last seen.
    branches: HashMap<Slot, Vec<(Incarnation, SlotPosition)>>,
    progress: Progress,
    fault: Option<Fault>,
    begin: &'static str,
}

/// What one batch is going to do, as far as the checkpoints in memory are right.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<Step>,
    /// Runs that do not follow a read model's checkpoint.
    behind: BTreeMap<Slot, SlotPosition>,
}

enum Failure {
    /// A read model's rows were refused.
    Rows(ModelIndex, String),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Engine {
    /// Reads the checkpoints of all slots.
    pub(crate) async fn open(
        read_store: PgPool,
        fed: Vec<Fed>,
        progress: Progress,
        fault: Option<Fault>,
    ) -> Result<Self, Error> {
        let generations: Vec<Generation> = fed.iter().map(|fed| fed.generation.clone()).collect();
        let checkpoints = {
            let mut connection = read_store.acquire().await?;
            checkpoint::load(&mut connection, &generations, None).await?
        };
        let models = fed.iter().map(|fed| fed.model.instance()).collect();
        Ok(Self {
            read_store,
            generations,
            models,
            checkpoints,
            doubtful: BTreeSet::new(),
            branches: HashMap::new(),
            progress,
            fault,
            begin: BEGIN,
        })
    }

    /// For generations that nobody reads yet.
    #[must_use]
    pub(crate) fn in_bulk(self) -> Self {
        Self {
            begin: BEGIN_BULK,
            ..self
        }
    }

    pub(crate) fn generations(&self) -> &[Generation] {
        &self.generations
    }

    pub(crate) fn read_store(&self) -> &PgPool {
        &self.read_store
    }

    /// The checkpoint of one read model.
    pub(crate) fn checkpoint(&self, model: ModelIndex, slot: Slot) -> Checkpoint {
        self.checkpoints
            .get(&(model, slot))
            .copied()
            .unwrap_or(Checkpoint::START)
    }

    /// The lowest checkpoint of a slot over what is fed: where its events are needed from.
    pub(crate) fn lowest(&self, slot: Slot) -> Checkpoint {
        (0..self.generations.len())
            .map(|model| self.checkpoint(model, slot))
            .min_by_key(|checkpoint| checkpoint.slot_position)
            .unwrap_or(Checkpoint::NOBODY)
    }

    /// Feeds these generations from now on. What is known of those that stay is kept. Gives the slots
    /// of which a new one lacks something that the feed has passed, and up to where.
    pub(crate) async fn feed(&mut self, fed: Vec<Fed>) -> Result<BTreeMap<Slot, SlotPosition>, Error> {
        let known = |new: &Generation| self.generations.iter().any(|it| it.is(new));
        let (mut kept, mut added) = (vec![], vec![]);
        for fed in fed {
            let list = if known(&fed.generation) { &mut kept } else { &mut added };
            list.push(fed);
        }
        let generations: Vec<Generation> = added.iter().map(|fed| fed.generation.clone()).collect();
        let loaded = if generations.is_empty() {
            HashMap::new()
        } else {
            let mut connection = self.read_store.acquire().await?;
            checkpoint::load(&mut connection, &generations, None).await?
        };
        self.keep(|generation| kept.iter().any(|fed| fed.generation.is(generation)));
        for generation in &mut self.generations {
            let seen = kept.iter().find(|fed| fed.generation.is(generation));
            generation.served = seen.is_some_and(|fed| fed.generation.served);
        }
        let passed: BTreeMap<Slot, SlotPosition> = match self.generations.is_empty() {
            // Nothing says where the feed is; comparing with the heads will.
            true => BTreeMap::new(),
            false => Slot::all()
                .map(|slot| (slot, self.lowest(slot).slot_position))
                .collect(),
        };
        let first = self.generations.len();
        self.models.extend(added.iter().map(|fed| fed.model.instance()));
        self.generations.extend(generations);
        let loaded = loaded
            .into_iter()
            .map(|((index, slot), at)| ((first + index, slot), at));
        self.checkpoints.extend(loaded);
        let lacking = |(slot, passed): &(Slot, SlotPosition)| self.lowest(*slot).slot_position < *passed;
        Ok(passed.into_iter().filter(lacking).collect())
    }

    /// Lets go of the generations that are not wanted any more.
    fn keep(&mut self, wanted: impl Fn(&Generation) -> bool) {
        let stays: Vec<bool> = self.generations.iter().map(wanted).collect();
        if stays.iter().all(|stays| *stays) {
            return;
        }
        let mut place = 0;
        let places: Vec<Option<ModelIndex>> = stays
            .iter()
            .map(|stays| {
                stays.then(|| {
                    place += 1;
                    place - 1
                })
            })
            .collect();
        let mut stay = stays.iter();
        self.generations.retain(|_| *stay.next().unwrap_or(&false));
        let mut stay = stays.iter();
        self.models.retain(|_| *stay.next().unwrap_or(&false));
        let moved = self
            .checkpoints
            .drain()
            .filter_map(|((index, slot), checkpoint)| Some(((places[index]?, slot), checkpoint)));
        self.checkpoints = moved.collect();
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Takes note of a slot's later incarnations; whether any is new.
    pub(crate) fn learn(&mut self, slot: Slot, branches: &[(Incarnation, SlotPosition)]) -> bool {
        let new = !branches.is_empty() && self.branches(slot) != branches;
        if new {
            self.branches.insert(slot, branches.to_vec());
        }
        new
    }

    pub(crate) fn branches(&self, slot: Slot) -> &[(Incarnation, SlotPosition)] {
        self.branches.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Applies runs, whole: an error leaves everything as it was, and the same runs can be tried
    /// again.
    pub(crate) async fn apply(&mut self, runs: &[Run]) -> Result<Applied, Error> {
        let result = match tokio::time::timeout(ATTEMPT_TIMEOUT, self.apply_within(runs)).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut {
                seconds: ATTEMPT_TIMEOUT.as_secs(),
            }),
        };
        if result.is_err() {
            // The commit itself may have succeeded unnoticed.
            self.doubt(runs.iter().map(|run| run.slot).collect());
        }
        result
    }

    async fn apply_within(&mut self, runs: &[Run]) -> Result<Applied, Error> {
        self.refresh().await?;
        let mut isolated = BTreeSet::new();
        loop {
            let mut plan = self.plan(runs);
            if plan.steps.is_empty() {
                return Ok(Applied {
                    behind: plan.behind,
                    ..Applied::default()
                });
            }
            match self.attempt(runs, &plan, &isolated).await {
                Ok((moved, parked)) => {
                    let lost = self.settle(&plan, &moved);
                    let events = applied_events(runs, &plan, &moved);
                    plan.behind
                        .extend(runs.iter().filter(|run| lost.contains(&run.slot)).filter_map(end_of));
                    return Ok(Applied {
                        events,
                        parked,
                        behind: plan.behind,
                    });
                }
                Err(Failure::Database(error)) => return Err(error.into()),
                Err(Failure::Rows(model, reason)) => {
                    self.models.iter_mut().for_each(|model| model.rolled_back());
                    let read_model = self.generations[model].read_model;
                    tracing::warn!(read_model, reason, "rows were refused; finding the event at fault");
                    isolated.insert(model);
                }
            }
        }
    }

    /// Which checkpoints the runs move, and which runs do not fit a checkpoint.
    fn plan(&self, runs: &[Run]) -> Plan {
        let mut plan = Plan::default();
        for run in runs {
            let (Some(first), Some(last)) = (run.events.first(), run.events.last()) else {
                continue;
            };
            let last = last.recorded.slot_position;
            for model in 0..self.generations.len() {
                let from = self.checkpoint(model, run.slot);
                if last <= from.slot_position && self.fault != Some(Fault::SkipDedupe) {
                    continue;
                }
                let follows =
                    first.recorded.slot_position.0 <= from.slot_position.0 + 1 || self.fault == Some(Fault::SkipRefill);
                if follows && from.continues_in(run.incarnation, self.branches(run.slot)) {
                    let to = Checkpoint {
                        slot_position: last.max(from.slot_position),
                        incarnation: run.incarnation,
                    };
                    plan.steps.push(Step {
                        model,
                        slot: run.slot,
                        from,
                        to,
                    });
                } else {
                    plan.behind.insert(run.slot, last);
                }
            }
        }
        // The order in which checkpoints are held, the same for whoever holds several.
        let name = |step: &Step| {
            let generation = &self.generations[step.model];
            (generation.read_model, generation.number, step.slot)
        };
        plan.steps.sort_by_key(name);
        plan
    }

    /// One transaction. Gives, per step, whether it moved its checkpoint, and how many streams were
    /// parked.
    async fn attempt(
        &mut self,
        runs: &[Run],
        plan: &Plan,
        isolated: &BTreeSet<ModelIndex>,
    ) -> Result<(Vec<bool>, usize), Failure> {
        let compare = self.fault != Some(Fault::SkipCompareAndSet);
        let mut transaction = self.read_store.begin_with(self.begin).await?;
        let moved = checkpoint::advance(&mut transaction, &self.generations, &plan.steps, compare).await?;
        let mut parking = Parking::default();
        for (index, model) in self.models.iter_mut().enumerate() {
            let generation = &self.generations[index];
            let steps: HashMap<Slot, (Checkpoint, i64)> = plan
                .steps
                .iter()
                .zip(&moved)
                .filter(|(step, _)| step.model == index)
                .filter_map(|(step, parked)| Some((step.slot, (step.from, (*parked)?))))
                .collect();
            let dedupe = self.fault != Some(Fault::SkipDedupe);
            let stretches = stretches(runs, &steps, model.as_ref(), dedupe);
            let any_parked = steps.values().any(|(_, parked)| *parked > 0);
            let free = hold_back_parked(&mut transaction, generation, stretches, any_parked, &mut parking).await?;
            if free.is_empty() {
                continue;
            }
            let poisons = if isolated.contains(&index) {
                apply_around_poison(model.as_mut(), &mut transaction, &generation.schema, &free).await?
            } else {
                apply_set(index, model.as_mut(), &mut transaction, generation, &free).await?
            };
            for poison in poisons {
                parking.park((index, generation), &free[poison.stretch], poison.event, &poison.error);
            }
        }
        parking.write(&mut transaction, &self.generations).await?;
        transaction.commit().await?;
        Ok((moved.iter().map(Option::is_some).collect(), parking.streams()))
    }

    /// Takes over what was committed. Gives the slots that somebody else has moved.
    fn settle(&mut self, plan: &Plan, moved: &[bool]) -> BTreeSet<Slot> {
        self.models.iter_mut().for_each(|model| model.committed());
        let mut lost = BTreeSet::new();
        for (step, moved) in plan.steps.iter().zip(moved) {
            if *moved {
                self.checkpoints.insert((step.model, step.slot), step.to);
            } else {
                lost.insert(step.slot);
            }
        }
        self.progress.committed();
        if !lost.is_empty() {
            metrics::counter!("projector_lost_slots_total").increment(lost.len() as u64);
            let slots: Vec<u16> = lost.iter().map(|slot| slot.0).collect();
            tracing::warn!(
                ?slots,
                "another projector moved these slots' checkpoints; their states are dropped"
            );
            self.doubt(lost.clone());
        }
        lost
    }

    /// Drops what is thought to be known of these slots.
    pub(crate) fn doubt(&mut self, slots: BTreeSet<Slot>) {
        self.models.iter_mut().for_each(|model| model.forget(&slots));
        self.doubtful.extend(slots);
    }

    /// Reads doubtful checkpoints again.
    pub(crate) async fn refresh(&mut self) -> Result<(), Error> {
        if self.doubtful.is_empty() {
            return Ok(());
        }
        let slots: Vec<Slot> = self.doubtful.iter().copied().collect();
        let stored = {
            let mut connection = self.read_store.acquire().await?;
            checkpoint::load(&mut connection, &self.generations, Some(&slots)).await?
        };
        self.checkpoints.extend(stored.iter().map(|(key, at)| (*key, *at)));
        self.doubtful.clear();
        // Every slot has its checkpoint for as long as its generation is there.
        let is_there = |model: ModelIndex| slots.iter().all(|slot| stored.contains_key(&(model, *slot)));
        let gone: Vec<Generation> = (0..self.generations.len())
            .filter(|model| !is_there(*model))
            .map(|model| self.generations[model].clone())
            .collect();
        for Generation { read_model, number, .. } in &gone {
            tracing::info!(
                read_model,
                generation = number,
                "the generation was dropped; it is fed no more"
            );
        }
        self.keep(|generation| !gone.iter().any(|it| it.is(generation)));
        Ok(())
    }
}

fn end_of(run: &Run) -> Option<(Slot, SlotPosition)> {
    Some((run.slot, run.events.last()?.recorded.slot_position))
}

/// How many events some read model saw for the first time.
fn applied_events(runs: &[Run], plan: &Plan, moved: &[bool]) -> usize {
    let mut from: HashMap<Slot, SlotPosition> = HashMap::new();
    for (step, _) in plan.steps.iter().zip(moved).filter(|(_, moved)| **moved) {
        let lowest = from.entry(step.slot).or_insert(step.from.slot_position);
        *lowest = step.from.slot_position.min(*lowest);
    }
    runs.iter()
        .filter_map(|run| Some((run, *from.get(&run.slot)?)))
        .map(|(run, from)| {
            run.events
                .iter()
                .filter(|event| event.recorded.slot_position > from)
                .count()
        })
        .sum()
}

/// Lines parked streams' events up behind those already parked, and gives the other streams.
async fn hold_back_parked<'a>(
    connection: &mut PgConnection,
    generation: &Generation,
    stretches: Vec<Stretch<'a>>,
    any_parked: bool,
    parking: &mut Parking,
) -> Result<Vec<Stretch<'a>>, sqlx::Error> {
    if !any_parked || stretches.is_empty() {
        return Ok(stretches);
    }
    let parked = parked::among(connection, generation, &stretches).await?;
    let (held, free): (Vec<_>, Vec<_>) = stretches
        .into_iter()
        .partition(|stretch| parked.contains(&parked::key_of(stretch)));
    for stretch in &held {
        parking.line_up(generation, stretch, 0);
    }
    Ok(free)
}

async fn apply_set(
    index: ModelIndex,
    model: &mut dyn ReadModel,
    connection: &mut PgConnection,
    generation: &Generation,
    stretches: &[Stretch<'_>],
) -> Result<Vec<crate::model::Poison>, Failure> {
    model
        .apply(connection, &generation.schema, stretches)
        .await
        .map_err(|error| match error {
            error if error.blames_rows() => Failure::Rows(index, error.reason()),
            WriteError::Database(error) => Failure::Database(error),
            WriteError::Contradiction(why) => Failure::Rows(index, why.to_owned()),
        })
}
