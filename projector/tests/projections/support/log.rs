//! A log in memory and a feed with a script.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use cqrs_es::DomainEvent;
use domain::metadata::key;
use domain::{EventId, Sequence, StreamId, Timestamp};
use event_store::{
    Incarnation, Ownership, Position, PositionToken, RecordedEvent, ShardId, Slot, SlotHead, SlotPosition,
};
use projector::{Delivery, Error, Feed, Log, LostWhen, Seen};
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A log that assigns what the real one does. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(crate) struct MemoryLog(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    events: Vec<RecordedEvent>,
    sequences: HashMap<StreamId, i64>,
    numbers: HashMap<String, i64>,
    heads: BTreeMap<Slot, (SlotPosition, Incarnation)>,
    branches: BTreeMap<Slot, Vec<(Incarnation, SlotPosition)>>,
    slow: bool,
    away: bool,
    hangs: bool,
    hanging: usize,
}

impl MemoryLog {
    /// Appends an event of the domain.
    pub(crate) fn append<E: DomainEvent + Serialize>(&self, stream: &StreamId, event: &E) -> RecordedEvent {
        let payload = serde_json::to_string(event).expect("serialises");
        self.append_raw(stream, &event.event_type(), &event.event_version(), &payload, None)
    }

    /// Appends an event that draws an order number from `counter`.
    pub(crate) fn append_numbered<E: DomainEvent + Serialize>(
        &self,
        stream: &StreamId,
        event: &E,
        counter: &str,
    ) -> RecordedEvent {
        let payload = serde_json::to_string(event).expect("serialises");
        self.append_raw(
            stream,
            &event.event_type(),
            &event.event_version(),
            &payload,
            Some(counter),
        )
    }

    pub(crate) fn append_raw(
        &self,
        stream: &StreamId,
        event_type: &str,
        event_version: &str,
        payload: &str,
        counter: Option<&str>,
    ) -> RecordedEvent {
        let mut contents = self.0.lock().expect("not poisoned");
        let slot = Slot::of(stream.tenant());
        let head = contents.heads.entry(slot).or_insert((SlotPosition(0), Incarnation(1)));
        head.0 = SlotPosition(head.0.0 + 1);
        let (slot_position, incarnation) = *head;
        let sequence = contents.sequences.entry(stream.clone()).or_default();
        *sequence += 1;
        let sequence = Sequence(*sequence);
        let mut metadata = HashMap::from([(key::ACTOR.to_owned(), "waiter".to_owned())]);
        if let Some(counter) = counter {
            let number = contents.numbers.entry(counter.to_owned()).or_default();
            *number += 1;
            metadata.insert(key::NUMBER.to_owned(), number.to_string());
        }
        let position = contents.events.len() as i64 + 1;
        let start: Timestamp = "2026-03-01T03:30:00.000123Z".parse().expect("a time");
        let event = RecordedEvent {
            position: Position(position),
            slot,
            slot_position,
            incarnation,
            stream: stream.clone(),
            sequence,
            event_id: EventId(Uuid::from_u128(position as u128)),
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
            payload: serde_json::value::RawValue::from_string(payload.to_owned()).expect("JSON"),
            metadata,
            recorded_at: start.plus_seconds(position),
        };
        contents.events.push(event.clone());
        event
    }

    fn meets_hang(&self) -> bool {
        let mut contents = self.0.lock().expect("not poisoned");
        contents.hanging += usize::from(contents.hangs);
        contents.hangs
    }

    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        self.0.lock().expect("not poisoned").events.clone()
    }

    pub(crate) fn head_tokens(&self) -> Vec<PositionToken> {
        let contents = self.0.lock().expect("not poisoned");
        let token = |(slot, (slot_position, incarnation)): (&Slot, &(SlotPosition, Incarnation))| PositionToken {
            slot: *slot,
            incarnation: *incarnation,
            slot_position: *slot_position,
        };
        contents.heads.iter().map(token).collect()
    }

    /// As a restore of an older copy does: events are gone, and what follows counts anew.
    pub(crate) fn restore(&self, slot: Slot, to: SlotPosition) {
        let mut contents = self.0.lock().expect("not poisoned");
        contents
            .events
            .retain(|event| event.slot != slot || event.slot_position <= to);
        for event in contents.events.iter_mut().filter(|event| event.slot == slot) {
            event.incarnation = Incarnation(event.incarnation.0 + 1);
        }
        if let Some((position, incarnation)) = contents.heads.get_mut(&slot) {
            *position = to;
            *incarnation = Incarnation(incarnation.0 + 1);
        }
    }

    /// What a restore leaves behind of where it began.
    pub(crate) fn tell_branch(&self, slot: Slot, incarnation: Incarnation, behind: SlotPosition) {
        let mut contents = self.0.lock().expect("not poisoned");
        contents.branches.entry(slot).or_default().push((incarnation, behind));
    }

    /// Looks at the heads take longer than anything that a feed brings.
    pub(crate) fn answer_slowly(&self) {
        self.0.lock().expect("not poisoned").slow = true;
    }

    /// Reading events never comes to an end.
    pub(crate) fn hang(&self) {
        self.0.lock().expect("not poisoned").hangs = true;
    }

    /// How often that was met.
    pub(crate) fn hanging(&self) -> usize {
        self.0.lock().expect("not poisoned").hanging
    }

    /// The heads cannot be looked at, or can again.
    pub(crate) fn set_away(&self, away: bool) {
        self.0.lock().expect("not poisoned").away = away;
    }

    /// Events vanish, and nobody knows.
    pub(crate) fn truncate(&self, slot: Slot, to: SlotPosition) {
        let mut contents = self.0.lock().expect("not poisoned");
        contents
            .events
            .retain(|event| event.slot != slot || event.slot_position <= to);
        if let Some((position, _)) = contents.heads.get_mut(&slot) {
            *position = to;
        }
    }
}

impl Log for MemoryLog {
    async fn read_slot(&self, slot: Slot, after: SlotPosition, limit: usize) -> Result<Vec<RecordedEvent>, Error> {
        if self.meets_hang() {
            std::future::pending::<()>().await;
        }
        let contents = self.0.lock().expect("not poisoned");
        let wanted = |event: &&RecordedEvent| event.slot == slot && event.slot_position > after;
        Ok(contents.events.iter().filter(wanted).take(limit).cloned().collect())
    }

    fn parts(&self) -> Vec<ShardId> {
        vec![super::SHARD]
    }

    fn part_of(&self, _: Slot) -> Option<ShardId> {
        Some(super::SHARD)
    }

    async fn look(&self, _: ShardId) -> Result<Vec<Seen>, Error> {
        let slow = self.0.lock().expect("not poisoned").slow;
        for _ in 0..if slow { 10_000 } else { 0 } {
            tokio::task::yield_now().await;
        }
        let contents = self.0.lock().expect("not poisoned");
        if contents.away {
            return Err(Error::ShardTimedOut(super::SHARD));
        }
        let head = |(slot, (slot_position, incarnation)): (&Slot, &(SlotPosition, Incarnation))| Seen {
            head: SlotHead {
                slot: *slot,
                slot_position: *slot_position,
                incarnation: *incarnation,
                ownership: Ownership(1),
                owned: true,
            },
            lost_when: LostWhen::StandsStill,
            branches: contents.branches.get(slot).cloned().unwrap_or_default(),
        };
        Ok(contents.heads.iter().map(head).collect())
    }
}

/// Delivers the batches it is sent; silent when there are no more.
pub(crate) struct ScriptedFeed {
    batches: mpsc::UnboundedReceiver<Vec<RecordedEvent>>,
    gained: Vec<Slot>,
}

impl ScriptedFeed {
    pub(crate) fn new(batches: mpsc::UnboundedReceiver<Vec<RecordedEvent>>) -> Self {
        let gained = vec![];
        Self { batches, gained }
    }

    /// Says first that it was given these slots.
    pub(crate) fn given(self, gained: Vec<Slot>) -> Self {
        Self { gained, ..self }
    }
}

impl Feed for ScriptedFeed {
    async fn next(&mut self, _: usize) -> Result<Delivery, Error> {
        if !self.gained.is_empty() {
            let (gained, lost) = (std::mem::take(&mut self.gained), vec![]);
            return Ok(Delivery::Moved { gained, lost });
        }
        match self.batches.recv().await {
            Some(batch) => Ok(Delivery::Events(batch)),
            None => std::future::pending().await,
        }
    }
}
