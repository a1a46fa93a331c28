//! Folded streams kept in memory. Never trusted: the expected sequence of the next append says
//! whether an entry was still true, and a conflict throws it out. Where a shard went on from an
//! earlier point in another history, sequences say nothing any more: what was read before that was
//! seen counts no longer.

use std::sync::Arc;

use cqrs_es::{Aggregate, EventEnvelope};
use domain::{Sequence, StreamId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::branch::Epoch;

/// Events of an average stream, to size the table that the entries are found in.
const EVENTS_PER_STREAM: u64 = 4;

/// A stream as it stood at `version`.
#[derive(Debug)]
pub(crate) struct Folded<A: Aggregate> {
    pub(crate) state: Arc<A>,
    pub(crate) version: Sequence,
    pub(crate) envelopes: Arc<Vec<EventEnvelope<A>>>,
    /// From before it was read.
    pub(crate) epoch: Epoch,
}

impl<A: Aggregate> Clone for Folded<A> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            version: self.version,
            envelopes: Arc::clone(&self.envelopes),
            epoch: self.epoch,
        }
    }
}

/// A stream weighs as many units as it has events, which is what takes the memory.
#[derive(Debug, Clone)]
struct ByEvents;

impl<A: Aggregate> Weighter<StreamId, Folded<A>> for ByEvents {
    fn weight(&self, _: &StreamId, folded: &Folded<A>) -> u64 {
        folded.envelopes.len().max(1) as u64
    }
}

pub(crate) struct StreamCache<A: Aggregate> {
    streams: Cache<StreamId, Folded<A>, ByEvents>,
}

impl<A: Aggregate> StreamCache<A> {
    /// Holds about `events` events in all.
    pub(crate) fn new(events: u64) -> Self {
        let streams = usize::try_from(events / EVENTS_PER_STREAM)
            .unwrap_or(usize::MAX)
            .clamp(1, 1 << 20);
        Self {
            streams: Cache::with_weighter(streams, events, ByEvents),
        }
    }

    /// As it was read in this epoch.
    pub(crate) fn get(&self, stream: &StreamId, now: Epoch) -> Option<Folded<A>> {
        self.streams.get(stream).filter(|folded| folded.epoch == now)
    }

    /// Keeps the newer of what is there and what is given. (Two at once may still leave the older:
    /// it costs a conflict, not an error.)
    pub(crate) fn put(&self, stream: &StreamId, folded: Folded<A>) {
        let newer = self
            .streams
            .peek(stream)
            .is_none_or(|kept| (kept.epoch, kept.version) < (folded.epoch, folded.version));
        if newer && folded.version > Sequence::NONE {
            self.streams.insert(stream.clone(), folded);
        }
    }

    pub(crate) fn forget(&self, stream: &StreamId) {
        self.streams.remove(stream);
    }
}

impl<A: Aggregate> std::fmt::Debug for StreamCache<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamCache")
            .field("streams", &self.streams.len())
            .finish()
    }
}
