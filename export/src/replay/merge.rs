//! The shards' pages as one stream, the earliest recorded first as far as each shard's own order
//! allows. That spaces a replay as the events were; it is not an order between shards, because their
//! clocks are not one.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use event_store::{Lane, RecordedEvent, Scan, ShardId};

use super::ReplayProgress;
use crate::error::Error;

pub(super) struct Merge(Vec<Source>);

struct Source {
    lane: Lane,
    ready: VecDeque<RecordedEvent>,
    done: bool,
}

impl Merge {
    pub(super) fn new(scan: Scan) -> Self {
        let sources = scan.into_lanes().into_iter().map(|lane| Source {
            lane,
            ready: VecDeque::new(),
            done: false,
        });
        Self(sources.collect())
    }

    pub(super) async fn next(&mut self, progress: &ReplayProgress) -> Result<Option<(ShardId, RecordedEvent)>, Error> {
        for source in &mut self.0 {
            source.fill(progress).await?;
        }
        let earliest = self
            .0
            .iter_mut()
            .filter_map(|source| Some((source.ready.front()?.recorded_at, source)))
            .min_by_key(|(recorded_at, _)| *recorded_at);
        Ok(earliest.and_then(|(_, source)| Some((source.lane.shard(), source.ready.pop_front()?))))
    }
}

impl Source {
    async fn fill(&mut self, progress: &ReplayProgress) -> Result<(), Error> {
        while self.ready.is_empty() && !self.done {
            match self.lane.next().await? {
                Some(page) => {
                    progress.looked_at.fetch_add(page.looked_at, Ordering::Relaxed);
                    self.ready.extend(page.events);
                }
                None => self.done = true,
            }
        }
        Ok(())
    }
}
