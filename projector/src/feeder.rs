//! The loop that keeps the read models of one feed's slots up with the log.
//!
//! Guarantee: as long as it runs and both databases answer now and then, every event of its slots
//! reaches every read model, exactly once, in order per slot. It stops for nothing but being told
//! to: an error is logged, shown in health and tried again after a pause that grows; meanwhile the
//! feed is not read, so nothing piles up in memory.
//!
//! On a crash it goes on from the committed checkpoints. Not needed for correctness: the feed being
//! complete (losses are found by position, or by comparing with the heads), or being alone.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use event_store::{RecordedEvent, ShardId, Slot, SlotHead, SlotPosition};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use service::Shutdown;
use service::settings::ProjectorSettings;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::engine::{Applied, Engine};
use crate::error::{Error, described};
use crate::fault::Fault;
use crate::feed::{Delivery, Feed, Log, LostWhen, Place, Seen};
use crate::generation::Standing;
use crate::intake::{Intake, Looked, Run, Sorted, Stopped};
use crate::lag;
use crate::learn;
use crate::model::Registered;
use crate::progress::Progress;
use crate::retry::Retry;

/// How long a part of the log may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a feed is left alone for its slots' heads to be looked at first. What comes later of a
/// slot that could not be looked at is read from the log once it can.
const LOOK_FIRST: Duration = Duration::from_secs(3);
/// Events taken at once while there are more than the feeder can apply.
const CATCH_UP: usize = 2_000;

/// One feed at work.
pub(crate) struct Feeder<F, L> {
    /// Names the feed.
    pub(crate) shard: ShardId,
    pub(crate) feed: F,
    pub(crate) log: Arc<L>,
    pub(crate) engine: Engine,
    pub(crate) progress: Progress,
    pub(crate) settings: ProjectorSettings,
    pub(crate) shutdown: Shutdown,
    pub(crate) intake: Intake,
    pub(crate) parts: BTreeMap<ShardId, Part>,
    /// Pages being read for slots that are behind, one at a time from each part of the log.
    pub(crate) pages: FuturesUnordered<BoxFuture<'static, Page>>,
    /// Looks at heads under way, one at a time at each part of the log.
    pub(crate) looks: FuturesUnordered<BoxFuture<'static, Look>>,
    /// Ages being asked for, once at a time of each part of the log.
    pub(crate) ages: FuturesUnordered<BoxFuture<'static, ShardId>>,
    /// The read models to keep, whichever of their generations there are.
    pub(crate) models: Vec<Registered>,
    /// A look at the generations under way.
    pub(crate) learning: FuturesUnordered<BoxFuture<'static, Result<Standing, Error>>>,
    /// Slots that are behind what was published, and the place past which that is loss.
    pub(crate) suspects: BTreeMap<Slot, (SlotPosition, Place)>,
    /// Where the checkpoints stood at the last comparison.
    pub(crate) compared: BTreeMap<Slot, SlotPosition>,
    /// Until when the feed is left alone at most, so that heads are looked at first.
    pub(crate) held: Option<Instant>,
    /// Whether the feed had as much as was asked for.
    pub(crate) full: bool,
}

/// A part of the log, as far as this feed is concerned. One that is away delays only its own slots.
pub(crate) struct Part {
    reading: bool,
    looking: bool,
    measuring: bool,
    retry: Retry,
    problem: bool,
    /// The slot whose page was read last.
    last: Option<Slot>,
}

pub(crate) struct Page {
    part: ShardId,
    slot: Slot,
    events: Result<Vec<RecordedEvent>, Error>,
}

pub(crate) struct Look {
    part: ShardId,
    seen: Result<Vec<Seen>, Error>,
}

impl<F: Feed, L: Log> Feeder<F, L> {
    pub(crate) async fn run(mut self) {
        let mut compare = interval(Duration::from_millis(self.settings.reconcile_interval_ms));
        // Two looks at once would take lag for loss.
        compare.reset();
        let mut learn = interval(learn::EVERY);
        learn.reset();
        let mut retry = Retry::new(&self.settings);
        self.look_first();
        while !self.shutdown.is_triggered() {
            self.read_behind();
            self.held = self.held.filter(|_| !self.looks.is_empty());
            let (held, wanted) = (self.held, self.wanted());
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                _ = compare.tick() => self.look(),
                Some(look) = self.looks.next() => self.compare(look).await,
                Some(page) = self.pages.next() => self.page(page).await,
                _ = learn.tick() => self.look_for_generations(),
                Some(standing) = self.learning.next() => self.learn_generations(standing).await,
                Some(part) = self.ages.next() => self.part(part).measuring = false,
                () = until(held), if held.is_some() => self.held = None,
                delivery = self.feed.next(wanted), if held.is_none() => match delivery {
                    Ok(delivery) => {
                        retry.succeeded();
                        self.deliver(delivery).await;
                    }
                    Err(error) => {
                        let why = described(&error);
                        tracing::error!(feed = self.shard.0, error = why, "the feed failed; trying again");
                        self.progress.update(self.shard, |status| status.log_problem = true);
                        retry.pause(&self.shutdown).await;
                    }
                },
            }
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(batch) => {
                self.full = batch.len() >= self.wanted();
                let awaited = self.intake.awaits_look();
                let sorted = self.intake.sort(batch, &self.engine);
                if self.intake.awaits_look() && !awaited {
                    self.look();
                }
                if self.take(sorted).await {
                    self.feed.applied();
                }
            }
            Delivery::Moved { gained, lost } => {
                for slot in &lost {
                    self.intake.forget(*slot);
                    self.suspects.remove(slot);
                    self.compared.remove(slot);
                }
                gained.iter().for_each(|slot| self.intake.await_look(*slot));
                self.engine
                    .doubt(gained.into_iter().chain(lost).collect::<BTreeSet<_>>());
                self.show_stopped();
                // Before anything is judged by them.
                self.persist(&[]).await;
                self.look_first();
            }
        }
    }

    /// Begins to look at the heads, and leaves the feed alone until that is done.
    fn look_first(&mut self) {
        self.look();
        self.held = Some(Instant::now() + LOOK_FIRST);
    }

    /// How many events to take at once.
    fn wanted(&self) -> usize {
        let usual = self.settings.batch_max;
        if self.full { usual.max(CATCH_UP) } else { usual }
    }

    /// Applies what was sorted, however often it takes; whether it was applied.
    async fn take(&mut self, sorted: Sorted) -> bool {
        metrics::counter!("projector_duplicates_total").increment(sorted.duplicates as u64);
        self.show_stopped();
        if sorted.runs.is_empty() {
            return true;
        }
        let started = Instant::now();
        let Some(applied) = self.persist(&sorted.runs).await else {
            return false;
        };
        for (slot, target) in &applied.behind {
            self.intake.fall_behind(*slot, *target);
        }
        lag::record_batch(&sorted.runs, applied.events, started.elapsed());
        true
    }

    /// Reads checkpoints that are in doubt and applies the runs, however often it takes; `None` where
    /// it is told to stop before.
    async fn persist(&mut self, runs: &[Run]) -> Option<Applied> {
        let mut retry = Retry::new(&self.settings);
        loop {
            match self.engine.apply(runs).await {
                Ok(done) => {
                    self.progress
                        .update(self.shard, |status| status.read_store_problem = false);
                    return Some(done);
                }
                Err(error) => {
                    let why = described(&error);
                    tracing::error!(
                        feed = self.shard.0,
                        error = why,
                        "a batch cannot be written; trying again"
                    );
                    metrics::counter!("projector_failed_batches_total").increment(1);
                    self.progress
                        .update(self.shard, |status| status.read_store_problem = true);
                    retry.pause(&self.shutdown).await;
                    if self.shutdown.is_triggered() {
                        return None;
                    }
                }
            }
        }
    }

    fn part(&mut self, part: ShardId) -> &mut Part {
        let settings = &self.settings;
        self.parts.entry(part).or_insert_with(|| Part {
            reading: false,
            looking: false,
            measuring: false,
            retry: Retry::new(settings),
            problem: false,
            last: None,
        })
    }

    /// Begins to read one page from each part of the log that has slots which are behind.
    fn read_behind(&mut self) {
        if !self.intake.is_behind() {
            return;
        }
        for id in self.log.parts() {
            let part = self.part(id);
            let (reading, last, pause) = (part.reading, part.last, part.problem.then(|| part.retry.next()));
            if reading {
                continue;
            }
            let log = Arc::clone(&self.log);
            let Some(slot) = self.intake.next_behind(last, |slot| log.part_of(slot) == Some(id)) else {
                continue;
            };
            let part = self.part(id);
            (part.reading, part.last) = (true, Some(slot));
            let (after, limit) = (self.engine.lowest(slot).slot_position, self.settings.batch_max);
            self.pages.push(Box::pin(async move {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                let events = in_time(id, log.read_slot(slot, after, limit)).await;
                Page { part: id, slot, events }
            }));
        }
    }

    /// Applies a page that was read from the log.
    async fn page(&mut self, page: Page) {
        self.part(page.part).reading = false;
        let events = match page.events {
            Ok(events) => {
                self.went_well(page.part);
                events
            }
            Err(error) => return self.failed(page.part, &error),
        };
        let slot = page.slot;
        // The slot may have been taken from the feed meanwhile.
        let Some(target) = self.intake.target(slot) else { return };
        let lowest = self.engine.lowest(slot).slot_position;
        if events.is_empty() {
            if lowest < target {
                self.intake.stop(slot, Stopped::Missing { after: lowest });
            }
            self.intake.caught_up(slot);
            return self.show_stopped();
        }
        metrics::counter!("projector_refilled_events_total").increment(events.len() as u64);
        // Before it is applied: what is found missing then puts the slot on the list again.
        if reaches(&events, target) {
            self.intake.caught_up(slot);
        }
        let awaited = self.intake.awaits_look();
        let sorted = self.intake.sort_page(slot, events, &self.engine);
        if self.intake.awaits_look() && !awaited {
            self.look();
        }
        self.take(sorted).await;
    }

    /// Begins to look where each part of the log stands.
    pub(crate) fn look(&mut self) {
        for id in self.log.parts() {
            let part = self.part(id);
            if part.looking {
                continue;
            }
            part.looking = true;
            let log = Arc::clone(&self.log);
            self.looks.push(Box::pin(async move {
                let seen = in_time(id, log.look(id)).await;
                Look { part: id, seen }
            }));
        }
    }

    /// Compares checkpoints with the heads: finds what a feed lost without a trace, consumers that
    /// are not where the log is, and the lag.
    async fn compare(&mut self, look: Look) {
        self.part(look.part).looking = false;
        let seen = match look.seen {
            Ok(seen) => seen,
            Err(error) => return self.failed(look.part, &error),
        };
        self.went_well(look.part);
        let ours = |seen: &Seen| seen.head.owned && self.feed.delivers(seen.head.slot);
        let seen: Vec<Seen> = seen.into_iter().filter(ours).collect();
        let mut began_anew = false;
        for seen in &seen {
            let new = self.engine.learn(seen.head.slot, &seen.branches);
            began_anew |= new && self.compared.contains_key(&seen.head.slot);
            self.compare_slot(seen);
        }
        if began_anew {
            let lowest = |seen: &Seen| (seen.head.slot, self.engine.lowest(seen.head.slot).slot_position);
            self.feed.begin_again(seen.iter().map(lowest).collect());
        }
        self.show_stopped();
        let heads: Vec<SlotHead> = seen.into_iter().map(|seen| seen.head).collect();
        lag::measure(self.shard, look.part, &self.engine, &heads, &self.progress);
        // Only a figure: where it takes too long, the next batch says so.
        drop(tokio::time::timeout(PATIENCE, lag::parked(self.shard, &self.engine, &self.progress)).await);
        self.measure_ages(look.part, &heads);
    }

    /// Begins to ask how old what is not applied is. Only a figure, and nothing waits for it.
    fn measure_ages(&mut self, part: ShardId, heads: &[SlotHead]) {
        if std::mem::replace(&mut self.part(part).measuring, true) {
            return;
        }
        let samples = lag::samples(&self.engine, heads);
        let names = self.engine.generations().iter().map(|it| it.read_model).collect();
        let (feed, log) = (self.shard, Arc::clone(&self.log));
        self.ages.push(Box::pin(async move {
            let ages = lag::ages(feed, part, names, samples, log.as_ref());
            drop(tokio::time::timeout(PATIENCE, ages).await);
            part
        }));
    }

    fn compare_slot(&mut self, seen: &Seen) {
        let (head, slot) = (&seen.head, seen.head.slot);
        let lowest = self.engine.lowest(slot).slot_position;
        let looked = self.intake.looked(head);
        if looked == Looked::TooEarly {
            return self.look();
        }
        for model in 0..self.engine.generations().len() {
            let checkpoint = self.engine.checkpoint(model, slot);
            if !checkpoint.continues_in(head.incarnation, self.engine.branches(slot)) {
                let why = Stopped::OtherIncarnation {
                    checkpoint: checkpoint.incarnation,
                    log: head.incarnation,
                };
                return self.intake.stop(slot, why);
            }
            if checkpoint.slot_position > head.slot_position {
                // The look may be older than what came since.
                if self.compared.insert(slot, lowest) != Some(lowest) {
                    return;
                }
                let why = Stopped::AheadOfLog {
                    checkpoint: checkpoint.slot_position,
                    head: head.slot_position,
                };
                return self.intake.stop(slot, why);
            }
        }
        let resumed = self.intake.resume(slot);
        let before = self.compared.insert(slot, lowest);
        let lost = match seen.lost_when {
            // Standing still since the last comparison while there is more is loss, not lag.
            LostWhen::StandsStill => (before == Some(lowest)).then_some(head.slot_position),
            LostWhen::Passed { upto, place } => self.passed(slot, lowest, upto, place),
            LostWhen::Unknown => None,
        };
        let lost = match looked {
            Looked::PassedOver(upto) => Some(upto),
            Looked::Idly | Looked::TooEarly if resumed => Some(head.slot_position),
            Looked::Idly | Looked::TooEarly => lost,
        };
        if let Some(target) = lost.filter(|target| lowest < *target)
            && self.engine.fault() != Some(Fault::SkipRefill)
        {
            self.intake.fall_behind(slot, target);
        }
    }

    /// Up to where the slot's events are lost: its records were in the topic before a place that the
    /// feed has passed. An earlier suspicion is judged first, because ends move on under load.
    fn passed(&mut self, slot: Slot, lowest: SlotPosition, upto: SlotPosition, place: Place) -> Option<SlotPosition> {
        let (upto, place) = match self.suspects.remove(&slot) {
            Some((suspected, at)) if lowest < suspected => (suspected, at),
            _ => (upto, place),
        };
        if lowest >= upto {
            return None;
        }
        if self.feed.has_passed(&place) {
            return Some(upto);
        }
        self.suspects.insert(slot, (upto, place));
        None
    }

    fn went_well(&mut self, part: ShardId) {
        let known = self.part(part);
        known.problem = false;
        known.retry.succeeded();
        let problem = self.parts.values().any(|part| part.problem);
        self.progress.update(self.shard, |status| status.log_problem = problem);
    }

    fn failed(&mut self, part: ShardId, error: &Error) {
        let why = described(error);
        tracing::error!(
            feed = self.shard.0,
            shard = part.0,
            error = why,
            "the log cannot be read; trying again"
        );
        self.part(part).problem = true;
        self.progress.update(self.shard, |status| status.log_problem = true);
    }

    fn show_stopped(&self) {
        let stopped = self.intake.stopped();
        metrics::gauge!("projector_stopped_slots", "shard" => self.shard.to_string()).set(stopped.len() as f64);
        self.progress.update(self.shard, |status| {
            if status.stopped != *stopped {
                status.stopped.clone_from(stopped);
            }
        });
    }
}

async fn in_time<T>(part: ShardId, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(Error::ShardTimedOut(part)),
    }
}

fn reaches(page: &[RecordedEvent], target: SlotPosition) -> bool {
    page.last().is_some_and(|last| last.slot_position >= target)
}

async fn until(end: Option<Instant>) {
    if let Some(end) = end {
        tokio::time::sleep_until(end).await;
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
