//! From whatever a feed delivers to runs of events that can be applied: duplicates dropped, order
//! checked, losses found, events decoded.
//!
//! A slot's events arrive with dense positions, so one look at the position says which of three
//! things an event is: at most the checkpoint, a duplicate; the next, good; beyond, proof that
//! something was lost. A slot with a loss is *behind*: what the feed brings of it is left alone and
//! the range is read from the log instead, page by page, until it has caught up.
//!
//! Nor does a position say anything before it is known of which incarnations the slot's log is: what
//! an older one had beyond the next one's beginning is void. So nothing of a slot is applied before
//! its head was looked at, and where an event is of an incarnation not known yet, it is looked at
//! again.

use std::collections::BTreeMap;
use std::fmt;

use domain::DecodeError;
use event_store::{Incarnation, RecordedEvent, Slot, SlotHead, SlotPosition};

use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::model::Incoming;

/// Why a slot stands still. Nothing of it is skipped or parked: the events stay in the log, and
/// read models answer as of the last one applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// The next event was written by a later binary. Upgrade this one.
    Newer { event_type: String, version: String },
    /// Read models hold more than the log has: it was restored from an older copy.
    AheadOfLog {
        checkpoint: SlotPosition,
        head: SlotPosition,
    },
    /// The slot was restored or promoted since it was read, so what was read may not be in it.
    OtherIncarnation { checkpoint: Incarnation, log: Incarnation },
    /// The log does not have the event after this one, but later ones.
    Missing { after: SlotPosition },
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { event_type, version } => {
                write!(f, "{event_type} {version} is newer than this binary: upgrade it")
            }
            Self::AheadOfLog { checkpoint, head } => {
                write!(
                    f,
                    "read models are at {checkpoint} but the log ends at {head}: rebuild them"
                )
            }
            Self::OtherIncarnation { checkpoint, log } => {
                write!(
                    f,
                    "read models are of incarnation {checkpoint} but the log is of {log}: rebuild them"
                )
            }
            Self::Missing { after } => write!(f, "the log has no event after {after}, but later ones"),
        }
    }
}

impl Stopped {
    /// Whether the log's state explains the stop, so that another look at it may end it.
    fn may_pass(&self) -> bool {
        match self {
            Self::Newer { .. } => false,
            Self::AheadOfLog { .. } | Self::OtherIncarnation { .. } | Self::Missing { .. } => true,
        }
    }
}

/// Consecutive events of one slot.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) slot: Slot,
    pub(crate) incarnation: Incarnation,
    /// Dense positions; never empty.
    pub(crate) events: Vec<Incoming>,
}

/// What a batch of a feed came to.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) runs: Vec<Run>,
    pub(crate) duplicates: usize,
}

/// What a look at a slot's head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Nothing waited for it.
    Idly,
    /// Up to here events came meanwhile, and were not taken.
    PassedOver(SlotPosition),
    /// Not yet: the look is older than what came.
    TooEarly,
}

/// The state of a feed's slots between batches.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// Slots whose heads have to be looked at first, and the furthest event that was not taken.
    unseen: BTreeMap<Slot, (Incarnation, SlotPosition)>,
    /// Slots to be read from the log, and up to which position at least.
    behind: BTreeMap<Slot, SlotPosition>,
    stopped: BTreeMap<Slot, Stopped>,
}

impl Intake {
    pub(crate) fn stopped(&self) -> &BTreeMap<Slot, Stopped> {
        &self.stopped
    }

    pub(crate) fn stop(&mut self, slot: Slot, why: Stopped) {
        self.behind.remove(&slot);
        self.unseen.remove(&slot);
        if self.stopped.get(&slot) != Some(&why) {
            tracing::error!(slot = slot.0, reason = %why, "a slot stands still");
            self.stopped.insert(slot, why);
        }
    }

    /// The log has nothing against the slot. Whether that ended a stop.
    pub(crate) fn resume(&mut self, slot: Slot) -> bool {
        if !self.stopped.get(&slot).is_some_and(Stopped::may_pass) {
            return false;
        }
        tracing::info!(slot = slot.0, "the slot goes on");
        self.stopped.remove(&slot);
        true
    }

    /// The slot has to be read from the log, up to `target` at least.
    pub(crate) fn fall_behind(&mut self, slot: Slot, target: SlotPosition) {
        if !self.stopped.contains_key(&slot) {
            let known = self.behind.entry(slot).or_insert(target);
            *known = target.max(*known);
        }
    }

    /// Nothing of the slot is applied before its head was looked at.
    pub(crate) fn await_look(&mut self, slot: Slot) {
        self.unseen.entry(slot).or_default();
    }

    pub(crate) fn awaits_look(&self) -> bool {
        !self.unseen.is_empty()
    }

    fn pass_over(&mut self, slot: Slot, incarnation: Incarnation, at: SlotPosition) {
        let furthest = self.unseen.entry(slot).or_default();
        *furthest = (incarnation, at).max(*furthest);
    }

    /// The slot's head was looked at.
    pub(crate) fn looked(&mut self, head: &SlotHead) -> Looked {
        let Some((incarnation, furthest)) = self.unseen.remove(&head.slot) else {
            return Looked::Idly;
        };
        if furthest == SlotPosition(0) {
            return Looked::Idly;
        }
        if incarnation > head.incarnation {
            // Once: a record may also name an incarnation that the log never had.
            self.unseen.insert(head.slot, (Incarnation(0), furthest));
            return Looked::TooEarly;
        }
        // What an older one had counts as far as the head says.
        let same = incarnation == head.incarnation;
        Looked::PassedOver(if same {
            furthest.max(head.slot_position)
        } else {
            head.slot_position
        })
    }

    /// A slot that is behind and `wanted`, the one after `last` in turn, so that each gets a page.
    pub(crate) fn next_behind(&self, last: Option<Slot>, wanted: impl Fn(Slot) -> bool) -> Option<Slot> {
        let after = last.map_or(0, |slot| slot.0.saturating_add(1));
        let mut turn = self.behind.range(Slot(after)..).chain(&self.behind);
        turn.find(|(slot, _)| wanted(**slot) && !self.unseen.contains_key(slot))
            .map(|(slot, _)| *slot)
    }

    /// Up to where the slot has to be read from the log.
    pub(crate) fn target(&self, slot: Slot) -> Option<SlotPosition> {
        self.behind.get(&slot).copied()
    }

    /// The slot is somebody else's now.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.unseen.remove(&slot);
        self.behind.remove(&slot);
        self.stopped.remove(&slot);
    }

    pub(crate) fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// The slot has been read from the log as far as was known to be necessary.
    pub(crate) fn caught_up(&mut self, slot: Slot) {
        self.behind.remove(&slot);
    }

    /// Sorts what a feed delivered.
    pub(crate) fn sort(&mut self, batch: Vec<RecordedEvent>, engine: &Engine) -> Sorted {
        let mut sorted = Sorted::default();
        for (slot, events) in by_slot(batch) {
            if self.stopped.contains_key(&slot) {
                continue;
            }
            if self.unseen.contains_key(&slot) {
                for event in events {
                    self.pass_over(slot, event.incarnation, event.slot_position);
                }
                continue;
            }
            let furthest = events.iter().map(|event| event.slot_position).max();
            if let (Some(_), Some(furthest)) = (self.behind.get(&slot), furthest) {
                self.fall_behind(slot, furthest);
                continue;
            }
            self.sort_slot(slot, events, engine, &mut sorted);
        }
        sorted
    }

    /// Sorts a page read from the log for a slot that is behind.
    pub(crate) fn sort_page(&mut self, slot: Slot, page: Vec<RecordedEvent>, engine: &Engine) -> Sorted {
        let (mut sorted, lowest) = (Sorted::default(), engine.lowest(slot));
        if page
            .first()
            .is_some_and(|first| first.slot_position.0 > lowest.slot_position.0 + 1)
        {
            self.stop(
                slot,
                Stopped::Missing {
                    after: lowest.slot_position,
                },
            );
        } else {
            self.sort_slot(slot, page, engine, &mut sorted);
        }
        sorted
    }

    fn sort_slot(&mut self, slot: Slot, events: Vec<RecordedEvent>, engine: &Engine, sorted: &mut Sorted) {
        let (branches, fault) = (engine.branches(slot), engine.fault());
        let mut at = engine.lowest(slot);
        let mut run = vec![];
        let furthest = events.iter().map(|event| event.slot_position).max();
        for recorded in events {
            if is_void(&recorded, branches) {
                metrics::counter!("projector_void_records_total").increment(1);
                continue;
            }
            if recorded.slot_position <= at.slot_position && fault != Some(Fault::SkipDedupe) {
                sorted.duplicates += 1;
                continue;
            }
            if recorded.slot_position.0 > at.slot_position.0 + 1 && fault != Some(Fault::SkipRefill) {
                metrics::counter!("projector_gaps_total").increment(1);
                tracing::warn!(
                    slot = slot.0,
                    after = at.slot_position.0,
                    "events were lost on the way; reading the log"
                );
                self.fall_behind(slot, furthest.unwrap_or(recorded.slot_position));
                break;
            }
            if recorded.incarnation < at.incarnation && !at.is_start() {
                // Written before the slot was restored: whether it still counts, the log knows.
                self.fall_behind(slot, recorded.slot_position);
                break;
            }
            if !at.continues_in(recorded.incarnation, branches) {
                // Where it began is not known yet; if it did before what was read, the look says so.
                self.pass_over(slot, recorded.incarnation, recorded.slot_position);
                break;
            }
            let content = match recorded.decode() {
                Ok(event) => Ok(event),
                Err(error @ DecodeError::Malformed { .. }) => Err(error.to_string()),
                Err(DecodeError::Newer { event_type, version }) => {
                    self.stop(slot, Stopped::Newer { event_type, version });
                    break;
                }
            };
            at = Checkpoint {
                slot_position: recorded.slot_position.max(at.slot_position),
                incarnation: recorded.incarnation,
            };
            run.push(Incoming { recorded, content });
        }
        if !run.is_empty() {
            sorted.runs.push(Run {
                slot,
                incarnation: at.incarnation,
                events: run,
            });
        }
    }
}

/// Whether the event is of an incarnation that a later one left before it came.
fn is_void(event: &RecordedEvent, branches: &[(Incarnation, SlotPosition)]) -> bool {
    branches
        .iter()
        .any(|(later, common)| *later > event.incarnation && event.slot_position > *common)
}

/// A batch by slot, each slot's events in order of delivery.
fn by_slot(batch: Vec<RecordedEvent>) -> BTreeMap<Slot, Vec<RecordedEvent>> {
    let mut slots: BTreeMap<Slot, Vec<RecordedEvent>> = BTreeMap::new();
    for event in batch {
        slots.entry(event.slot).or_default().push(event);
    }
    slots
}

#[cfg(test)]
mod tests {
    use event_store::Ownership;

    use super::*;

    const SLOT: Slot = Slot(3);

    fn head(incarnation: i32, at: i64) -> SlotHead {
        SlotHead {
            slot: SLOT,
            slot_position: SlotPosition(at),
            incarnation: Incarnation(incarnation),
            ownership: Ownership(1),
            owned: true,
        }
    }

    /// What a look finds after an event of this incarnation was passed over at this position.
    fn after(incarnation: i32, at: i64, head: &SlotHead) -> (Looked, Intake) {
        let mut intake = Intake::default();
        intake.await_look(SLOT);
        intake.pass_over(SLOT, Incarnation(incarnation), SlotPosition(at));
        (intake.looked(head), intake)
    }

    #[test]
    fn given_nothing_passed_over_then_a_look_ends_the_waiting_and_that_is_all() {
        let mut intake = Intake::default();
        intake.await_look(SLOT);
        assert_eq!(intake.looked(&head(1, 9)), Looked::Idly);
        assert!(!intake.awaits_look());
    }

    #[test]
    fn given_events_passed_over_then_the_log_is_read_up_to_them_unless_they_are_void() {
        let upto = |at| Looked::PassedOver(SlotPosition(at));
        assert_eq!(after(1, 12, &head(1, 9)).0, upto(12));
        assert_eq!(after(1, 7, &head(1, 9)).0, upto(9));
        assert_eq!(after(1, 12, &head(2, 9)).0, upto(9));
    }

    #[test]
    fn given_an_incarnation_that_the_look_does_not_know_then_it_is_looked_at_once_more() {
        let (looked, mut intake) = after(2, 6, &head(1, 5));
        assert_eq!(looked, Looked::TooEarly);
        assert!(intake.awaits_look());
        assert_eq!(intake.looked(&head(1, 5)), Looked::PassedOver(SlotPosition(5)));
        assert!(!intake.awaits_look());
    }
}
