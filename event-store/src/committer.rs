//! The committer of a shard: gathers appends into batches and answers each with its outcome.
//!
//! Guarantee: an append is acknowledged only when its commit is durable; the appends to a stream
//! are sent in the order in which they were handed over, one per batch.
//!
//! Gathering: while a batch is in flight others arrive, and the next batch is what has arrived. No
//! timer: a lone append is sent at once, and batches grow exactly as the database slows down.
//!
//! On a crash of the process, appends in flight are stored or not; their callers do not know, and
//! sending them again settles it, because the function recognises an append by its event id. The
//! same holds when the connection is lost: the batch is sent again whole. Nothing here is needed
//! for correctness between processes: any number of committers may serve one shard, and the head
//! lock orders them.
//!
//! When the handle is closed or dropped, the queue is drained, and then the task ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::StreamId;
use metrics::{counter, gauge, histogram};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::append::Append;
use crate::batch::{self, Outcome, Prepared};
use crate::branch::Epoch;
use crate::error::Error;
use crate::ids::{Position, ShardId};
use crate::queue::Job;
use crate::session::{Failure, Session, awaits_comparison, classify};

/// What a batch stored, by stream.
type Stored = HashMap<StreamId, Arc<Prepared>>;

pub(crate) struct Committer {
    pub(crate) shard: ShardId,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) session: Session,
    pub(crate) head: watch::Sender<Position>,
    pub(crate) closing: CancellationToken,
    pub(crate) batch_max: usize,
    pub(crate) batch_max_bytes: usize,
    pub(crate) reconnect_within: Duration,
    /// How long to wait for an answer before the connection counts as lost. Longer than the
    /// server's own time-outs, which end a slow statement with a known outcome.
    pub(crate) patience: Duration,
    /// Whether the last attempt to connect failed, so that the next does not wait again.
    pub(crate) down: bool,
}

impl Committer {
    pub(crate) async fn run(mut self) {
        let mut waiting: VecDeque<Job> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match self.next_job().await {
                    Some(job) => waiting.push_back(job),
                    None => break,
                }
            }
            while let Ok(job) = self.jobs.try_recv() {
                waiting.push_back(job);
            }
            let batch = take_batch(&mut waiting, self.batch_max, self.batch_max_bytes);
            match self.commit(batch).await {
                Ok(stored) => self.answer_overtaken(&mut waiting, &stored),
                // The shard is gone: those behind would each wait as long for the same news.
                Err(error) => answer_all(waiting.drain(..).collect(), &error),
            }
            let depth = waiting.len() + self.jobs.len();
            gauge!("event_store_queue_depth", "shard" => self.shard.to_string()).set(depth as f64);
        }
        self.session.close().await;
    }

    async fn next_job(&mut self) -> Option<Job> {
        tokio::select! {
            biased;
            job = self.jobs.recv() => job,
            () = self.closing.cancelled() => {
                // Takes no more; what is already in comes out, then `None`.
                self.jobs.close();
                self.jobs.recv().await
            }
        }
    }

    /// Commits a batch, splitting it where the data of one append is refused. Returns what was stored;
    /// `Err` where the shard could not be reached. The batch has been answered in any case.
    async fn commit(&mut self, batch: Vec<Job>) -> Result<Stored, Error> {
        let mut parts = vec![batch];
        let mut stored = Stored::new();
        let mut lost = None;
        while let Some(mut jobs) = parts.pop() {
            if let Some(error) = &lost {
                answer_all(jobs, error);
                continue;
            }
            match self.send(&mut jobs).await {
                Ok(outcomes) => self.answer(jobs, outcomes, &mut stored),
                Err(error) => match classify(&error) {
                    Failure::Data if jobs.len() > 1 => {
                        let second = jobs.split_off(jobs.len() / 2);
                        parts.push(second);
                        parts.push(jobs);
                    }
                    Failure::Data => answer_rejected(jobs, &error),
                    Failure::Server if awaits_comparison(&error) => {
                        // The next session looks which branch of its history it was opened on.
                        self.session.discard();
                        // Logged when the session was made; an error per batch would say no more.
                        let reason = "the shard was restored or promoted, and its slots were not compared yet";
                        answer_all(jobs, &Error::unavailable(reason, error));
                    }
                    Failure::Server => {
                        tracing::error!(shard = %self.shard, appends = jobs.len(), error = %error, "append failed");
                        answer_all(jobs, &Error::unavailable("the shard refuses to append", error));
                    }
                    Failure::Connection => {
                        tracing::error!(shard = %self.shard, appends = jobs.len(), error = %error, "shard unreachable");
                        let error = Error::unavailable("the shard cannot be reached", error);
                        answer_all(jobs, &error);
                        lost = Some(error);
                    }
                },
            }
        }
        lost.map_or(Ok(stored), Err)
    }

    /// Answers those that were decided on what was read of another branch of the shard's history: an
    /// equal length would be taken for the same stream.
    fn answer_outdated(&self, jobs: &mut Vec<Job>, now: Epoch, sent: bool) {
        let outdated = |job: &mut Job| job.prepared.decided.is_some_and(|epoch| epoch != now);
        for job in jobs.extract_if(.., outdated) {
            if sent {
                // Whether it was stored, and is still there, is for those to find out who sent it.
                let source = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
                job.answer(Err(Error::unavailable("the shard was opened again", source)));
            } else {
                self.answer_conflict(job);
            }
        }
    }

    /// Sends once, and again after a lost connection, until `reconnect_within` has passed. What need
    /// not be sent is answered and taken out.
    async fn send(&mut self, jobs: &mut Vec<Job>) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut sent = false;
        let mut deadline = Instant::now();
        if !self.down {
            deadline += self.reconnect_within;
        }
        loop {
            if let Err(error) = self.session.connection(deadline).await {
                self.down = true;
                // Also where the server answers and refuses: nothing can be sent.
                return Err(match classify(&error) {
                    Failure::Connection => error,
                    Failure::Data | Failure::Server => sqlx::Error::Io(std::io::Error::other(error)),
                });
            }
            self.answer_outdated(jobs, self.session.epoch(), sent);
            sent = true;
            let batch: Vec<&Prepared> = jobs.iter().map(|job| job.prepared.as_ref()).collect();
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            let connection = self.session.connection(deadline).await?;
            let started = Instant::now();
            let answer = timeout_at(started + self.patience, batch::send(connection, self.shard, &batch))
                .await
                .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
            self.measure(batch.len(), started);
            match answer {
                Err(error) if classify(&error) == Failure::Connection => {
                    self.session.discard();
                    if Instant::now() >= deadline {
                        self.down = true;
                        return Err(error);
                    }
                    tracing::warn!(shard = %self.shard, appends = batch.len(), error = %error, "connection lost, sending again");
                }
                answered => {
                    self.down = false;
                    return answered;
                }
            }
        }
    }

    fn measure(&self, appends: usize, started: Instant) {
        let shard = self.shard.to_string();
        histogram!("event_store_append_batch_size", "shard" => shard.clone()).record(appends as f64);
        histogram!("event_store_append_duration_ms", "shard" => shard).record(started.elapsed().as_secs_f64() * 1000.0);
    }

    fn answer(&mut self, jobs: Vec<Job>, outcomes: Vec<Outcome>, stored: &mut Stored) {
        let last = outcomes.iter().filter_map(last_position).max();
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Committed(committed) => {
                    let append = &job.prepared.append;
                    stored.insert(append.stream.clone(), Arc::clone(&job.prepared));
                    job.answer(Ok(committed));
                }
                Outcome::Conflict => self.answer_conflict(job),
                Outcome::NotOwned => {
                    let slot = job.prepared.slot;
                    job.answer(Err(Error::NotOwned { slot }));
                }
            }
        }
        if let Some(last) = last {
            self.session.acknowledged(last);
            self.head.send_modify(|head| *head = last.max(*head));
        }
    }

    /// Answers those whose place in their stream was just taken by another append. The log would
    /// say the same, but to one of them per batch: many writers on one stream would wait for each
    /// other's conflicts.
    fn answer_overtaken(&self, waiting: &mut VecDeque<Job>, stored: &Stored) {
        let overtaken = |job: &Job| {
            let append = &job.prepared.append;
            stored
                .get(&append.stream)
                .is_some_and(|taken| is_overtaken(append, &taken.append))
        };
        for job in std::mem::take(waiting) {
            if overtaken(&job) {
                self.answer_conflict(job)
            } else {
                waiting.push_back(job)
            }
        }
    }

    fn answer_conflict(&self, job: Job) {
        counter!("event_store_conflicts_total", "shard" => self.shard.to_string()).increment(1);
        let Append { stream, expected, .. } = &job.prepared.append;
        let conflict = Error::Conflict {
            stream: stream.clone(),
            expected: *expected,
        };
        job.answer(Err(conflict));
    }
}

/// Whether `append` must begin at a place that `taken` holds, and is not that very append sent again.
fn is_overtaken(append: &Append, taken: &Append) -> bool {
    let Ok(place) = usize::try_from(append.expected.0 - taken.expected.0) else {
        return false;
    };
    let first = append.events.first().map(|event| event.event_id);
    taken
        .events
        .get(place)
        .is_some_and(|there| Some(there.event_id) != first)
}

fn last_position(outcome: &Outcome) -> Option<Position> {
    match outcome {
        Outcome::Committed(committed) => committed.events.last().map(|event| event.position),
        Outcome::Conflict | Outcome::NotOwned => None,
    }
}

fn answer_all(jobs: Vec<Job>, error: &Error) {
    for job in jobs {
        job.answer(Err(error.clone()));
    }
}

fn answer_rejected(jobs: Vec<Job>, error: &sqlx::Error) {
    for job in jobs {
        let stream = job.prepared.append.stream.clone();
        let code = error
            .as_database_error()
            .and_then(|error| error.code())
            .unwrap_or_default()
            .into_owned();
        // Only the code: a message may quote the data.
        job.answer(Err(Error::Rejected {
            stream,
            reason: format!("SQLSTATE {code}"),
        }));
    }
}

/// Takes the next batch: the oldest appends, one per stream; further ones to a stream stay, in
/// order, for the batches after.
fn take_batch(waiting: &mut VecDeque<Job>, max: usize, max_bytes: usize) -> Vec<Job> {
    let mut streams: HashSet<StreamId> = HashSet::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut deferred = VecDeque::new();
    while let Some(job) = waiting.pop_front() {
        let full = batch.len() >= max.max(1) || (!batch.is_empty() && bytes + job.prepared.bytes > max_bytes);
        if full {
            waiting.push_front(job);
            break;
        }
        if streams.insert(job.prepared.append.stream.clone()) {
            bytes += job.prepared.bytes;
            batch.push(job);
        } else {
            deferred.push_back(job);
        }
    }
    deferred.append(waiting);
    *waiting = deferred;
    batch
}
