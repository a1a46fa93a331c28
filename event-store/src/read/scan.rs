//! Reading a prefix of the log in bulk: all that was recorded between two cursors, and nothing else.
//!
//! Guarantee: every matching event behind `after` and up to `until`, each once, in order within its
//! slot. `until` is where every slot stood when the scan was planned, or an earlier cursor, so a scan
//! ends, however much is appended meanwhile. What a slot's owner was at the start stays the place that
//! it is read from: a slot that moves away leaves all of its events up to then behind, unchanged. That
//! nothing is missing is checked: positions of a slot are dense, and a gap is an error.
//!
//! Between shards there is no order. Each is read by a task of its own, a few pages ahead of whoever
//! takes them and no more, so a slow reader costs neither memory nor a long snapshot: every statement
//! looks at a bounded range of positions.
//!
//! On a crash the reader scans again from the cursor that it last kept. A shard that cannot be read is
//! tried again for a while before the scan fails.

mod lane;
mod plan;

use std::task::Poll;

use domain::Timestamp;
use futures::future::poll_fn;

pub use self::lane::Lane;
use self::plan::Plan;
use super::filter::LogFilter;
use crate::error::Error;
use crate::follow::Cursor;
use crate::ids::ShardId;
use crate::record::RecordedEvent;
use crate::store::EventStore;

/// Neighbours of one shard's log.
#[derive(Debug, Clone)]
pub struct ScanPage {
    pub shard: ShardId,
    /// What matches, in the shard's order.
    pub events: Vec<RecordedEvent>,
    /// How far slots were read with this page, what did not match included.
    pub passed: Cursor,
    /// Events looked at: those of `events` and those that did not match.
    pub looked_at: u64,
}

/// A running scan. Dropping it ends its readers.
#[derive(Debug)]
pub struct Scan {
    until: Cursor,
    to_look_at: u64,
    lanes: Vec<Lane>,
    /// Whose turn it is, so that no shard waits for the others.
    turn: usize,
}

impl EventStore {
    /// Begins to read what matches behind `after`, up to `until` or, without it, to where every slot
    /// stands now. A slot that `until` lacks is not read.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: every shard that the filter admits must be readable.
    /// [`Error::Misconfigured`] where `after` holds positions that the log lost in a restoration, or
    /// `until` lies beyond the log's end.
    pub async fn scan(&self, filter: LogFilter, after: &Cursor, until: Option<&Cursor>) -> Result<Scan, Error> {
        let plan = Plan::make(self, &filter, after, until).await?;
        let lanes = plan.shards.into_iter();
        Ok(Scan {
            to_look_at: plan.to_look_at,
            lanes: lanes.map(|range| Lane::start(self, filter.clone(), range)).collect(),
            until: plan.until,
            turn: 0,
        })
    }
}

impl EventStore {
    /// Where every slot stood before `time`: behind it lies what was recorded at or after.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; every shard must be readable.
    pub async fn cursor_before(&self, time: Timestamp) -> Result<Cursor, Error> {
        let earlier = LogFilter {
            to: Some(time),
            ..LogFilter::default()
        };
        Ok(Plan::make(self, &earlier, &Cursor::default(), None).await?.until)
    }
}

impl Scan {
    /// Where the scan ends: what a later one goes on from.
    pub fn until(&self) -> &Cursor {
        &self.until
    }

    /// How many events the scan will look at; an estimate where the filter names a stream.
    pub fn to_look_at(&self) -> u64 {
        self.to_look_at
    }

    /// The shards' own readers, for whoever brings them together in an order of their own.
    pub fn into_lanes(self) -> Vec<Lane> {
        self.lanes
    }

    /// The next page of any shard; `None` when everything was returned.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where a shard could not be read for a while, [`Error::UnknownStream`],
    /// and [`Error::Misconfigured`] where events are missing from the log. The scan is over then.
    pub async fn next(&mut self) -> Result<Option<ScanPage>, Error> {
        poll_fn(|context| {
            self.lanes.retain(|lane| !lane.is_done());
            if self.lanes.is_empty() {
                return Poll::Ready(Ok(None));
            }
            for step in 0..self.lanes.len() {
                let at = (self.turn + step) % self.lanes.len();
                match self.lanes[at].poll_next(context) {
                    Poll::Ready(Ok(Some(page))) => {
                        self.turn = at + 1;
                        return Poll::Ready(Ok(Some(page)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(None)) => {
                        // Looks again, without that lane.
                        context.waker().wake_by_ref();
                    }
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}
