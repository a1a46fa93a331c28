//! The loop that keeps the read models of one feed's slots up with the log.
//!
//! Guarantee: as long as it runs and both databases answer now and then, every event of its slots
//! reaches every read model, exactly once, in order per slot. It stops for nothing but being told
//! to: an error is logged, shown in health and tried again after a pause that grows; meanwhile the
//! feed is not read, so nothing piles up in memory.
//!
//! On a crash it goes on from the committed checkpoints. Not needed for correctness: the feed being
//! complete (losses are found by position, or by comparing with the heads), or being alone.

use std::collections::BTreeMap;
use std::time::Duration;

use event_store::{RecordedEvent, ShardId, Slot, SlotHead, SlotPosition};
use service::Shutdown;
use service::settings::ProjectorSettings;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::engine::Engine;
use crate::error::described;
use crate::feed::{Feed, Log};
use crate::intake::{Intake, Sorted, Stopped};
use crate::lag;
use crate::progress::Progress;

/// One feed at work.
pub(crate) struct Feeder<F, L> {
    pub(crate) shard: ShardId,
    pub(crate) feed: F,
    pub(crate) log: L,
    pub(crate) engine: Engine,
    pub(crate) progress: Progress,
    pub(crate) settings: ProjectorSettings,
    pub(crate) shutdown: Shutdown,
    pub(crate) intake: Intake,
    /// The slot whose page was read last.
    pub(crate) last_behind: Option<Slot>,
    /// Where the checkpoints stood at the last comparison.
    pub(crate) compared: BTreeMap<Slot, SlotPosition>,
}

impl<F: Feed, L: Log> Feeder<F, L> {
    pub(crate) async fn run(mut self) {
        let mut compare = interval(Duration::from_millis(self.settings.reconcile_interval_ms));
        let mut retry = Retry::new(&self.settings);
        // Slots read from the log and the feed take turns.
        let mut feed_first = true;
        while !self.shutdown.is_triggered() {
            let behind = self.intake.is_behind();
            feed_first = !feed_first;
            let turn = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                _ = compare.tick() => Turn::Compare,
                batch = self.feed.next(self.settings.batch_max), if feed_first || !behind => Turn::Feed(batch),
                () = std::future::ready(()), if behind => Turn::Behind,
            };
            let done = match turn {
                Turn::Compare => self.compare().await,
                Turn::Behind => self.read_behind().await,
                Turn::Feed(Ok(batch)) => {
                    let engine = &self.engine;
                    let sorted = self.intake.sort(batch, |slot| engine.lowest(slot));
                    self.take(sorted).await;
                    Ok(())
                }
                Turn::Feed(Err(error)) => Err(error),
            };
            match done {
                Ok(()) => {
                    retry.succeeded();
                    self.progress.update(self.shard, |status| status.log_problem = false);
                }
                Err(error) => {
                    let why = described(&error);
                    tracing::error!(
                        shard = self.shard.0,
                        error = why,
                        "the log cannot be read; trying again"
                    );
                    self.progress.update(self.shard, |status| status.log_problem = true);
                    retry.pause(&self.shutdown).await;
                }
            }
        }
    }

    /// Applies what was sorted, however often it takes.
    async fn take(&mut self, sorted: Sorted) {
        metrics::counter!("projector_duplicates_total").increment(sorted.duplicates as u64);
        self.show_stopped();
        if sorted.runs.is_empty() {
            return;
        }
        let mut retry = Retry::new(&self.settings);
        while !self.shutdown.is_triggered() {
            let started = Instant::now();
            match self.engine.apply(&sorted.runs).await {
                Ok(applied) => {
                    for (slot, target) in &applied.behind {
                        self.intake.fall_behind(*slot, *target);
                    }
                    lag::record_batch(&sorted.runs, applied.events, started.elapsed());
                    self.progress
                        .update(self.shard, |status| status.read_store_problem = false);
                    return;
                }
                Err(error) => {
                    let why = described(&error);
                    tracing::error!(
                        shard = self.shard.0,
                        error = why,
                        "a batch cannot be written; trying again"
                    );
                    metrics::counter!("projector_failed_batches_total").increment(1);
                    self.progress
                        .update(self.shard, |status| status.read_store_problem = true);
                    retry.pause(&self.shutdown).await;
                }
            }
        }
    }

    /// Reads one page of one slot that is behind from the log.
    async fn read_behind(&mut self) -> Result<(), event_store::Error> {
        let Some((slot, target)) = self.intake.next_behind(self.last_behind) else {
            return Ok(());
        };
        self.last_behind = Some(slot);
        let lowest = self.engine.lowest(slot);
        let page = self
            .log
            .read_slot(slot, lowest.slot_position, self.settings.batch_max)
            .await?;
        if page.is_empty() {
            if lowest.slot_position < target {
                self.intake.stop(
                    slot,
                    Stopped::Missing {
                        after: lowest.slot_position,
                    },
                );
            }
            self.intake.caught_up(slot);
            self.show_stopped();
            return Ok(());
        }
        metrics::counter!("projector_refilled_events_total").increment(page.len() as u64);
        // Before it is applied: what is found missing then puts the slot on the list again.
        if reaches(&page, target) {
            self.intake.caught_up(slot);
        }
        let sorted = self.intake.sort_page(slot, page, lowest);
        self.take(sorted).await;
        Ok(())
    }

    /// Compares checkpoints with the heads: finds what a feed lost without a trace, consumers that
    /// are not where the log is, and the lag.
    async fn compare(&mut self) -> Result<(), event_store::Error> {
        let heads = self.log.heads().await?;
        for head in heads.iter().filter(|head| head.owned) {
            self.compare_slot(head);
        }
        self.show_stopped();
        lag::measure(self.shard, &self.engine, &self.log, &heads, &self.progress).await
    }

    fn compare_slot(&mut self, head: &SlotHead) {
        let slot = head.slot;
        let lowest = self.engine.lowest(slot);
        for model in 0..self.engine.generations().len() {
            let checkpoint = self.engine.checkpoint(model, slot);
            if !checkpoint.continues_in(head.incarnation) {
                let why = Stopped::OtherIncarnation {
                    checkpoint: checkpoint.incarnation,
                    log: head.incarnation,
                };
                return self.intake.stop(slot, why);
            }
            if checkpoint.slot_position > head.slot_position {
                let why = Stopped::AheadOfLog {
                    checkpoint: checkpoint.slot_position,
                    head: head.slot_position,
                };
                return self.intake.stop(slot, why);
            }
        }
        let resumed = self.intake.resume(slot);
        // Standing still since the last comparison while there is more is loss, not lag.
        let before = self.compared.insert(slot, lowest.slot_position);
        let still = resumed || before == Some(lowest.slot_position);
        if still && lowest.slot_position < head.slot_position {
            self.intake.fall_behind(slot, head.slot_position);
        }
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

enum Turn {
    Compare,
    Behind,
    Feed(Result<Vec<RecordedEvent>, event_store::Error>),
}

fn reaches(page: &[RecordedEvent], target: SlotPosition) -> bool {
    page.last().is_some_and(|last| last.slot_position >= target)
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Pauses between attempts, each twice as long as the one before, up to a limit.
pub(crate) struct Retry {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Retry {
    pub(crate) fn new(settings: &ProjectorSettings) -> Self {
        let first = Duration::from_millis(settings.retry_min_ms.max(1));
        Self {
            first,
            most: Duration::from_millis(settings.retry_max_ms).max(first),
            next: first,
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.next = self.first;
    }

    pub(crate) async fn pause(&mut self, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(self.next) => {}
        }
        self.next = (self.next * 2).min(self.most);
    }
}
