//! Which events of the whole log a reader wants.

use domain::metadata::key;
use domain::{EstablishmentId, EventType, StreamId, TenantId, Timestamp};

use crate::ids::{ShardId, Slot};
use crate::record::RecordedEvent;

/// Which events to return; every condition that is set must hold. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    pub tenant: Option<TenantId>,
    pub stream: Option<StreamId>,
    /// Any of these types; all where empty.
    pub types: Vec<EventType>,
    pub establishment: Option<EstablishmentId>,
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
    /// First and last of a range of slots.
    pub slots: Option<(Slot, Slot)>,
    /// Slots that any of these shards holds; all where empty.
    pub shards: Vec<ShardId>,
}

impl LogFilter {
    /// The slot that all matching events are in, where the filter names one.
    pub(crate) fn single_slot(&self) -> Option<Slot> {
        let tenant = self.tenant.as_ref().or(self.stream.as_ref().map(StreamId::tenant));
        tenant.map(Slot::of)
    }

    /// Whether a slot may hold events that match.
    pub fn wants_slot(&self, slot: Slot) -> bool {
        self.single_slot().is_none_or(|single| single == slot)
            && self.slots.is_none_or(|(first, last)| (first..=last).contains(&slot))
    }

    /// Whether the slots of a shard may hold events that match.
    pub fn wants_shard(&self, shard: ShardId) -> bool {
        self.shards.is_empty() || self.shards.contains(&shard)
    }

    /// Whether an event matches. Which shard it lies on an event does not say:
    /// [`LogFilter::wants_shard`] is asked where it is read.
    pub fn admits(&self, event: &RecordedEvent) -> bool {
        let establishment = event.metadata.get(key::ESTABLISHMENT_ID);
        self.wants_slot(event.slot)
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| tenant == event.stream.tenant())
            && self.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && (self.types.is_empty() || self.types.iter().any(|kind| kind.as_str() == event.event_type))
            && (self.establishment.as_ref()).is_none_or(|wanted| establishment.is_some_and(|id| id == wanted.as_str()))
            && self.from.is_none_or(|from| event.recorded_at >= from)
            && self.to.is_none_or(|to| event.recorded_at < to)
    }
}
