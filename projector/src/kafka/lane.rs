//! The records of some partitions, as a feed.
//!
//! A process works on several lanes at once; a partition belongs to one of them, so that each
//! slot's events stay in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_store::{RecordedEvent, Slot};
use tokio::sync::{mpsc, watch};

use super::assignment::{Assignment, Done, Term};
use super::room::Taken;
use crate::error::Error;
use crate::feed::{Delivery, Feed, Place};

/// Consecutive records of one partition.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) partition: i32,
    pub(crate) term: Term,
    pub(crate) events: Vec<RecordedEvent>,
    /// The offset after the last record.
    pub(crate) next: i64,
    /// Given back with it.
    pub(crate) _room: Vec<Taken>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) number: usize,
    pub(crate) lanes: usize,
    pub(crate) partitions: u16,
    pub(crate) assignment: watch::Receiver<Assignment>,
    pub(crate) seen: watch::Sender<Term>,
    pub(crate) parcels: mpsc::UnboundedReceiver<Parcel>,
    pub(crate) done: Arc<Done>,
    /// The assignment as last seen; of this lane's partitions.
    pub(crate) known: Assignment,
    /// A parcel of an assignment not seen yet.
    pub(crate) kept: Option<Parcel>,
    /// Up to where each partition was delivered.
    pub(crate) given: BTreeMap<i32, (Term, i64)>,
}

/// The lane that a partition belongs to.
pub(crate) fn lane_of(partition: i32, lanes: usize) -> usize {
    usize::try_from(partition).unwrap_or(0) % lanes.max(1)
}

impl Lane {
    /// What changed since the assignment was last looked at.
    fn moved(&mut self) -> Option<Delivery> {
        let mut now = self.assignment.borrow_and_update().clone();
        now.partitions
            .retain(|partition, _| lane_of(*partition, self.lanes) == self.number);
        let differing = |some: &Assignment, others: &Assignment| -> Vec<i32> {
            let new = |(partition, term): &(&i32, &Term)| others.partitions.get(partition) != Some(term);
            some.partitions
                .iter()
                .filter(new)
                .map(|(partition, _)| *partition)
                .collect()
        };
        let (gained, lost) = (differing(&now, &self.known), differing(&self.known, &now));
        self.given.retain(|partition, _| !lost.contains(partition));
        self.known = now;
        self.seen.send_replace(self.known.term);
        let slots = |of: &[i32]| -> Vec<Slot> {
            let among = |slot: &Slot| of.contains(&relay::record::partition_of(*slot, self.partitions));
            Slot::all().filter(among).collect()
        };
        (!gained.is_empty() || !lost.is_empty()).then(|| Delivery::Moved {
            gained: slots(&gained),
            lost: slots(&lost),
        })
    }

    /// Takes over what the parcel brings, if it still counts.
    fn unpack(&mut self, parcel: Parcel, events: &mut Vec<RecordedEvent>) {
        if parcel.term > self.known.term {
            self.kept = Some(parcel);
        } else if self.known.partitions.get(&parcel.partition) == Some(&parcel.term) {
            self.given.insert(parcel.partition, (parcel.term, parcel.next));
            events.extend(parcel.events);
        }
    }
}

impl Feed for Lane {
    async fn next(&mut self, max: usize) -> Result<Delivery, Error> {
        loop {
            if let Some(moved) = self.moved() {
                return Ok(moved);
            }
            let parcel = match self.kept.take() {
                Some(parcel) => Some(parcel),
                None => tokio::select! {
                    biased;
                    changed = self.assignment.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => None,
                    },
                    parcel = self.parcels.recv() => parcel,
                },
            };
            // Nobody reads any more: the process is ending.
            let Some(parcel) = parcel else {
                return std::future::pending().await;
            };
            let mut events = vec![];
            self.unpack(parcel, &mut events);
            while self.kept.is_none()
                && events.len() < max
                && let Ok(parcel) = self.parcels.try_recv()
            {
                self.unpack(parcel, &mut events);
            }
            if !events.is_empty() {
                return Ok(Delivery::Events(events));
            }
            self.applied();
        }
    }

    fn applied(&mut self) {
        self.done
            .put(self.given.iter().map(|(partition, place)| (*partition, *place)));
    }

    fn delivers(&self, slot: Slot) -> bool {
        let partition = relay::record::partition_of(slot, self.partitions);
        self.known.partitions.contains_key(&partition)
    }

    fn has_passed(&self, place: &Place) -> bool {
        let at = self.given.get(&place.partition).map_or(place.start, |(_, next)| *next);
        at >= place.end || place.low >= place.end
    }
}
