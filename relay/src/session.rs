//! Publishing one shard, from taking the lease to the first thing that goes wrong.
//!
//! Guarantee: records leave in the log's order; the cursor is moved only over acknowledged ones. On
//! any failure the session ends with its producer, and the next begins at the cursor.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use event_store::{EventStore, Position, RecordedEvent};
use service::shutdown::Shutdown;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::checker::{Checker, Losses};
use crate::cursor::{Attendance, Desk, Lease, Post};
use crate::error::Error;
use crate::kafka::{Producer, Refused, Topic};
use crate::metric;
use crate::reader::{Page, Reader};
use crate::settings::{Intervals, Settings};
use crate::settling::{Proven, Settling};
use crate::status::Board;
use crate::tracker::Tracker;

/// How a session ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The process stops.
    Stopped,
    /// The shard falls to another relay.
    HandOver,
}

/// What a session works with.
pub(crate) struct Workplace {
    pub(crate) post: Post,
    pub(crate) settings: Settings,
    pub(crate) store: EventStore,
    pub(crate) url: PgConnectOptions,
    pub(crate) topic: Topic,
    pub(crate) losses: Losses,
    pub(crate) board: Board,
    pub(crate) faults: Faults,
}

impl Workplace {
    /// Shows how far the shard is published.
    pub(crate) fn observe(&self, desk: &Desk, lease: &Lease) {
        let (shard, published, backlog) = (self.post.shard, lease.position, desk.backlog());
        metric::lag(&shard.to_string(), (backlog.head.0 - published.0).max(0), backlog.ms);
        self.board.update(shard, |status| {
            (status.published, status.head, status.lag_ms) = (published, backlog.head, backlog.ms);
        });
    }
}

/// Ways to be wrong, for showing that the tests would notice. Nothing outside of them sets any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Takes a record for acknowledged when it was only sent.
    pub(crate) advance_on_send: bool,
}

pub(crate) struct Session<'a> {
    work: &'a Workplace,
    desk: &'a mut Desk,
    lease: &'a mut Lease,
    /// One past the last acknowledged offset per partition; outlives the session.
    ends: &'a mut Vec<i64>,
    tracker: Arc<Tracker>,
    producer: Producer,
    settling: Arc<Mutex<Settling>>,
    pending: VecDeque<RecordedEvent>,
    /// How far the log is read with what is pending: behind the last of it may stand events that
    /// are not published.
    until: Position,
    pages: mpsc::Receiver<Result<Page, Error>>,
    losses_before: u64,
    /// The reader and the checker; they end with the session.
    _helpers: JoinSet<()>,
}

impl<'a> Session<'a> {
    pub(crate) fn begin(
        work: &'a Workplace,
        desk: &'a mut Desk,
        lease: &'a mut Lease,
        ends: &'a mut Vec<i64>,
    ) -> Result<Self, Error> {
        let (settings, shard) = (&work.settings.relay, work.post.shard);
        let tracker = Arc::new(Tracker::new(
            &work.settings.kafka.topic.name,
            lease.position,
            ends.clone(),
        ));
        let producer = Producer::new(&work.settings, shard, Arc::clone(&tracker))?;
        let settling = Arc::new(Mutex::new(Settling::new(settings.settle())));
        // One page being sent, one waiting, one being read.
        let (page_sender, pages) = mpsc::channel(1);
        let (busy, idle) = Reader::intervals(settings);
        let reader = Reader {
            store: work.store.clone(),
            shard,
            url: work.url.clone(),
            batch_max: settings.batch_max.max(1),
            busy,
            idle,
            pages: page_sender,
        };
        let checker = Checker {
            topic: work.topic.clone(),
            tracker: Arc::clone(&tracker),
            settling: Arc::clone(&settling),
        };
        let mut helpers = JoinSet::new();
        helpers.spawn(reader.run(lease.position));
        helpers.spawn(checker.run(settings.clone()));
        let losses_before = work.losses.count();
        let (pending, until, _helpers) = (VecDeque::new(), lease.position, helpers);
        Ok(Self {
            work,
            desk,
            lease,
            ends,
            tracker,
            producer,
            settling,
            pending,
            until,
            pages,
            losses_before,
            _helpers,
        })
    }

    pub(crate) async fn run(mut self, stop: &Shutdown) -> Result<Ended, Error> {
        let ended = self.publish(stop).await;
        // What came in meanwhile is acknowledged all the same.
        self.ends.clone_from(&self.tracker.proven().ends);
        ended
    }

    async fn publish(&mut self, stop: &Shutdown) -> Result<Ended, Error> {
        let mut attend = ticks(self.work.settings.relay.attend_interval());
        let mut advance = ticks(self.work.settings.relay.advance_interval());
        loop {
            self.send_pending()?;
            // A page is taken when the one before has left, so that no more is held than in flight.
            let room = self.pending.is_empty();
            let news = self.tracker.reached() > self.lease.position;
            tokio::select! {
                page = self.pages.recv(), if room => self.take(page.ok_or(Error::Ended)??),
                () = self.tracker.changed() => {}
                _ = advance.tick(), if news => self.advance().await?,
                _ = attend.tick() => {
                    if self.attend().await? {
                        return self.drain(Ended::HandOver).await;
                    }
                }
                () = stop.cancelled() => return self.drain(Ended::Stopped).await,
            }
            self.tracker.failure()?;
        }
    }

    fn take(&mut self, page: Page) {
        self.until = page.until;
        self.pending.extend(page.events);
    }

    /// Hands over what there is room for.
    fn send_pending(&mut self) -> Result<(), Error> {
        while let Some(event) = self.pending.front() {
            if self.tracker.open() >= self.work.settings.relay.in_flight_max {
                return Ok(());
            }
            let ticket = self.tracker.begin(event.position, event.recorded_at);
            match self.producer.send(event, ticket) {
                Ok(()) => {}
                Err(Refused::Full) => {
                    self.tracker.withdraw(ticket);
                    return Ok(());
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
            if self.work.faults.advance_on_send {
                self.tracker.acknowledge(ticket, -1, -1);
            }
            self.pending.pop_front();
        }
        self.tracker.pass(self.until);
        Ok(())
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let to = self.tracker.reached();
        let settled = self.settled();
        self.desk.advance(self.lease, to, settled.as_ref()).await?;
        metric::records(&self.work.post.shard.to_string(), self.tracker.take_acknowledged());
        self.work.board.update(self.work.post.shard, |status| {
            (status.published, status.trouble) = (to, None)
        });
        Ok(())
    }

    fn settled(&self) -> Option<Proven> {
        self.settling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .settled(Instant::now())
    }

    /// Keeps the lease and looks whether all is well. Returns whether the shard falls to another
    /// relay now.
    async fn attend(&mut self) -> Result<bool, Error> {
        let attendance = self.desk.attend(Some(self.lease)).await?;
        self.work.observe(self.desk, self.lease);
        metric::in_flight(&self.work.post.shard.to_string(), self.tracker.open());
        let stall = self.work.settings.relay.stall();
        if self.tracker.silent_for().is_some_and(|silence| silence > stall) {
            return Err(Error::Stalled {
                seconds: stall.as_secs(),
            });
        }
        if self.work.losses.count() > self.losses_before {
            return Err(Error::TopicMissing {
                topic: self.work.settings.kafka.topic.name.clone(),
            });
        }
        Ok(matches!(attendance, Attendance::HandOver(_)))
    }

    /// Waits for what is under way, moves the cursor behind it, and ends.
    async fn drain(&mut self, ended: Ended) -> Result<Ended, Error> {
        let mut late = pin!(sleep(self.work.settings.relay.drain()));
        while self.tracker.open() > 0 {
            tokio::select! {
                () = self.tracker.changed() => {}
                () = &mut late => break,
            }
            self.tracker.failure()?;
        }
        if self.tracker.reached() > self.lease.position {
            self.advance().await?;
        }
        Ok(ended)
    }
}

fn ticks(every: std::time::Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
