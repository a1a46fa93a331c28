//! Compares a topic with the log. It counts only because it has failed on planted bugs: see
//! `failures`, and below.

use std::collections::BTreeMap;

use event_store::{Slot, SlotPosition};

use super::log::Events;
use super::topic::Seen;
use crate::record::partition_of;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Events of the log that the topic does not have.
    pub(super) missing: usize,
    /// First occurrences that came after a later one of their slot, or before an earlier one.
    pub(super) out_of_order: usize,
    /// Records that are in a partition of other slots, or not what is in the log.
    pub(super) wrong: usize,
    /// Records that came before. Allowed.
    pub(super) repeated: usize,
}

impl Verdict {
    /// All but repetitions.
    pub(super) fn is_good(&self) -> bool {
        self.missing + self.out_of_order + self.wrong == 0
    }
}

/// Judges what is behind `since` in each slot; where that names no slot, all of it.
pub(super) fn judge(log: &Events, topic: &[Seen], partitions: u16, since: &BTreeMap<Slot, i64>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut reached: BTreeMap<Slot, i64> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for record in topic {
        let (slot, position) = (record.event.slot, record.event.slot_position);
        let stored = log.get(&(slot, position));
        if partition_of(slot, partitions) != record.partition || stored != Some(&record.event.event_id) {
            verdict.wrong += 1;
        }
        let before = since.get(&slot).copied().unwrap_or(0);
        if !seen.insert((slot, position)) {
            verdict.repeated += 1;
        } else if position.0 > before {
            let reached = reached.entry(slot).or_insert(before);
            verdict.out_of_order += usize::from(position.0 != *reached + 1);
            *reached = position.0.max(*reached);
        }
    }
    let due = log
        .keys()
        .filter(|(slot, position)| position.0 > since.get(slot).copied().unwrap_or(0));
    verdict.missing = due.filter(|place| !seen.contains(place)).count();
    verdict
}

/// Where each slot of the log ends.
pub(super) fn ends(log: &Events) -> BTreeMap<Slot, i64> {
    log.keys()
        .map(|(slot, SlotPosition(position))| (*slot, *position))
        .collect()
}

mod tests {
    use super::*;
    use domain::{EventId, OrderId, Sequence, StreamId, TenantId};
    use event_store::{Incarnation, Position, RecordedEvent};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    fn record(position: i64) -> Seen {
        let tenant = TenantId::new("acme").unwrap();
        let event = RecordedEvent {
            position: Position(position),
            slot: Slot(9),
            slot_position: SlotPosition(position),
            incarnation: Incarnation(1),
            stream: StreamId::order(&tenant, OrderId(Uuid::nil())),
            sequence: Sequence(1),
            event_id: EventId(Uuid::from_u128(position.unsigned_abs().into())),
            event_type: String::new(),
            event_version: String::new(),
            payload: RawValue::from_string("{}".to_owned()).unwrap(),
            metadata: domain::Metadata::new(),
            recorded_at: "2026-03-01T12:00:00Z".parse().unwrap(),
        };
        Seen { partition: 1, event }
    }

    fn of(positions: &[i64]) -> Verdict {
        let log = (1..=4).map(|it| {
            (
                (Slot(9), SlotPosition(it)),
                EventId(Uuid::from_u128(it.unsigned_abs().into())),
            )
        });
        let topic: Vec<_> = positions.iter().map(|position| record(*position)).collect();
        judge(&log.collect(), &topic, 8, &BTreeMap::new())
    }

    #[test]
    fn the_judge_sees_what_is_missing_wrong_or_out_of_order() {
        assert_eq!(of(&[1, 2, 3, 4]), Verdict::default());
        assert_eq!(
            of(&[1, 2, 1, 2, 3, 2, 3, 4]),
            Verdict {
                repeated: 4,
                ..Verdict::default()
            }
        );
        assert_eq!(of(&[1, 2, 3]).missing, 1);
        assert_eq!(of(&[1, 3, 2, 4]).out_of_order, 2);
        assert_eq!(of(&[1, 2, 3, 4, 5]).wrong, 1);
        assert!(!of(&[1, 2, 4]).is_good());
        let misplaced = Seen {
            partition: 2,
            ..record(1)
        };
        let log = [((Slot(9), SlotPosition(1)), misplaced.event.event_id)].into();
        assert_eq!(judge(&log, &[misplaced], 8, &BTreeMap::new()).wrong, 1);
    }
}
