//! One endpoint: a read store's primary or one of its standbys. Queries cannot tell which.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_store::{PositionToken, Slot};
use sqlx::PgPool;
use tokio::sync::watch;

use super::breaker::Breaker;
use super::known::{Furthest, Known};
use crate::error::Error;
use crate::generation::Chosen;
use crate::position::Checkpoint;
use crate::read_model::{Pointers, ReadModel};

/// How long a resolved pointer may be used by new requests.
const POINTERS_LAST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Replica {
    name: String,
    pool: PgPool,
    in_flight: AtomicUsize,
    breaker: Mutex<Breaker>,
    /// Counts how often it was found to be away; who waits for it then waits no longer.
    lost: watch::Sender<u64>,
    pointers: Mutex<Option<Arc<Pointers>>>,
    /// One refresh at a time; the others go on with what they have.
    refreshing: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
    watched: Mutex<Option<Watched>>,
}

/// What the watch found at its last look.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// Events behind the furthest endpoint; `None` where it never answered.
    pub(super) lag: Option<u64>,
    pub(super) fault: Option<String>,
}

/// A request's use of an endpoint, with the generations that it reads there.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) replica: Arc<Replica>,
    pub(crate) pointers: Arc<Pointers>,
}

impl Lease {
    pub(crate) fn new(replica: Arc<Replica>, pointers: Arc<Pointers>) -> Self {
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("query_replica_requests_total", "replica" => replica.name.clone()).increment(1);
        Self { replica, pointers }
    }
}

impl Lease {
    /// Reads the generations that the request names instead of the served ones. `Err` within tells
    /// which this endpoint does not have.
    pub(crate) async fn choose(&mut self, chosen: &Chosen) -> Result<Result<(), (ReadModel, i32)>, Error> {
        let pointers = self.pointers.with(chosen, self.replica.pool());
        Ok(self
            .replica
            .run(pointers)
            .await?
            .map(|pointers| self.pointers = Arc::new(pointers)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.replica.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replica {
    pub(super) fn new(name: String, pool: PgPool, breaker: Breaker) -> Self {
        Self {
            name,
            pool,
            in_flight: AtomicUsize::new(0),
            breaker: Mutex::new(breaker),
            lost: watch::Sender::new(0),
            pointers: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn watched(&self) -> Option<Watched> {
        locked(&self.watched).clone()
    }

    pub(super) fn set_watched(&self, watched: Watched) {
        *locked(&self.watched) = Some(watched);
    }

    pub(super) fn admits(&self) -> bool {
        locked(&self.breaker).admits(Instant::now())
    }

    pub(super) fn enter(&self) -> bool {
        locked(&self.breaker).enter(Instant::now())
    }

    pub(super) fn is_closed(&self) -> bool {
        locked(&self.breaker).is_closed()
    }

    pub(super) fn answered(&self) {
        locked(&self.breaker).answered(Instant::now());
    }

    /// It is away: opens the breaker, and lets go whoever waits for it. Returns whether that is news.
    pub(super) fn open(&self) -> bool {
        let mut breaker = locked(&self.breaker);
        let news = breaker.is_closed();
        breaker.open(Instant::now());
        drop(breaker);
        self.lost.send_modify(|times| *times += 1);
        news
    }

    /// Runs a statement's future; it is given up when the endpoint is found to be away.
    pub(crate) async fn run<T>(&self, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
        let mut lost = self.lost.subscribe();
        tokio::select! {
            biased;
            done = statement => match done {
                Ok(done) => {
                    locked(&self.breaker).succeeded();
                    Ok(done)
                }
                Err(error) => Err(self.failed(error)),
            },
            // The sender lives as long as `self`.
            _ = lost.changed() => Err(Error::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    /// Sorts an error of this endpoint, and counts where it is away.
    fn failed(&self, error: sqlx::Error) -> Error {
        match &error {
            // Every connection is taken, unless none could be made.
            sqlx::Error::PoolTimedOut if self.pool.size() >= self.pool.options().get_max_connections() => {
                return Error::Overloaded;
            }
            sqlx::Error::PoolTimedOut
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => {}
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // A generation was dropped under us: what we know of them is old.
                Some("42P01" | "3F000") => {
                    *locked(&self.pointers) = None;
                    return Error::Unavailable(error);
                }
                // A standby's replay went before this query; another endpoint's need not.
                Some("40001" | "40P01") => return Error::Unavailable(error),
                Some("57014") if database.message().contains("conflict with recovery") => {
                    return Error::Unavailable(error);
                }
                // Cut by the statement time-out: more work than this store gets done now.
                Some("57014") => return Error::Overloaded,
                // Shutting down, starting up, out of connections, connection failures.
                Some(code) if code.starts_with("57P") || code.starts_with("08") || code == "53300" => {}
                _ => return Error::Statement(error),
            },
            _ => return Error::Statement(error),
        }
        locked(&self.breaker).failed(Instant::now());
        tracing::warn!(read_store.name = %self.name, error = &error as &dyn std::error::Error, "the read store does not answer");
        Error::Unavailable(error)
    }

    /// The generations to read, at most [`POINTERS_LAST`] old.
    pub(crate) async fn pointers(&self) -> Result<Arc<Pointers>, Error> {
        if let Some(pointers) = self.current_pointers() {
            return Ok(pointers);
        }
        let _refreshing = match (self.refreshing.try_lock(), self.cached_pointers()) {
            (Ok(guard), _) => guard,
            // Someone else is at it, and a pointer a moment older will do.
            (Err(_), Some(pointers)) => return Ok(pointers),
            (Err(_), None) => {
                let guard = self.refreshing.lock().await;
                if let Some(pointers) = self.cached_pointers() {
                    return Ok(pointers);
                }
                guard
            }
        };
        let pointers = self.run(Pointers::read(&self.pool)).await?;
        Ok(self.point_to(pointers))
    }

    pub(super) fn point_to(&self, pointers: Pointers) -> Arc<Pointers> {
        let pointers = Arc::new(pointers);
        *locked(&self.pointers) = Some(Arc::clone(&pointers));
        pointers
    }

    pub(super) fn current_pointers(&self) -> Option<Arc<Pointers>> {
        self.cached_pointers()
            .filter(|pointers| pointers.read_at.elapsed() < POINTERS_LAST)
    }

    fn cached_pointers(&self) -> Option<Arc<Pointers>> {
        locked(&self.pointers).clone()
    }

    pub(super) fn know(&self, model: ReadModel, generation: i32, checkpoints: Vec<Checkpoint>) {
        locked(&self.known).replace(model, generation, checkpoints);
    }

    pub(crate) fn learn(&self, model: ReadModel, generation: i32, slot: Slot, checkpoint: Checkpoint) {
        locked(&self.known).learn(model, generation, slot, checkpoint);
    }

    pub(crate) fn forget(&self, model: ReadModel) {
        locked(&self.known).forget(model);
    }

    pub(super) fn compared_to(&self, furthest: &mut Furthest) -> u64 {
        furthest.compare(&locked(&self.known))
    }

    /// The least that any of `models` is known to have read of `slot`.
    pub(super) fn known_at(&self, models: &[ReadModel], slot: Slot) -> Option<Checkpoint> {
        let pointers = self.cached_pointers()?;
        let known = locked(&self.known);
        let at = |model: &ReadModel| known.at(*model, pointers.table(*model).ok()?.generation, slot);
        models.iter().map(at).min().flatten()
    }

    /// Whether all of `models`, as `pointers` has them, are known to have passed `token`.
    pub(super) fn is_known_past(&self, pointers: &Pointers, models: &[ReadModel], token: &PositionToken) -> bool {
        let known = locked(&self.known);
        let at = |model| known.at(model, pointers.table(model).ok()?.generation, token.slot);
        models
            .iter()
            .all(|model| at(*model).is_some_and(|it| it.has_passed(token)))
    }

    /// How far each of `models` has read `slot`.
    pub(crate) async fn checkpoints(
        &self,
        pointers: &Pointers,
        models: &[ReadModel],
        slot: Slot,
    ) -> Result<HashMap<ReadModel, Checkpoint>, Error> {
        let mut names = Vec::with_capacity(models.len());
        let mut generations = Vec::with_capacity(models.len());
        for &model in models {
            names.push(model.as_str());
            generations.push(pointers.table(model)?.generation);
        }
        let query = sqlx::query(
            "SELECT asked.at::int, slot_position, incarnation \
             FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS asked (read_model, generation, at) \
             JOIN meta.checkpoints USING (read_model, generation) WHERE slot = $3",
        )
        .bind(&names)
        .bind(&generations)
        .bind(i32::from(slot.0));
        let rows = self.run(query.fetch_all(&self.pool)).await?;
        let mut reached = HashMap::new();
        for row in rows {
            let at: i32 = crate::sql::get(&row, 0)?;
            let (slot_position, incarnation) = (crate::sql::get(&row, 1)?, crate::sql::get(&row, 2)?);
            let checkpoint = Checkpoint::stored(incarnation, slot_position);
            if let Some(at) = usize::try_from(at).ok().and_then(|at| at.checked_sub(1))
                && let (Some(&model), Some(&generation)) = (models.get(at), generations.get(at))
            {
                self.learn(model, generation, slot, checkpoint);
                reached.insert(model, checkpoint);
            }
        }
        Ok(reached)
    }
}
