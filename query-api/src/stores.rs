//! The read stores that queries are answered from: one today, replicas and independent stores
//! later, told apart only by their health and by how far their checkpoints are.
//!
//! Guarantee: a store that does not answer costs a request its connect time-out once, then is
//! passed over for [`REST`] before it is tried again; while none answers, queries are refused at
//! once. Pools are bounded: more load waits for a connection at most the acquire time-out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use event_store::Slot;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::error::Error;
use crate::position::Checkpoint;
use crate::read_model::{Pointers, ReadModel};

/// How long a store that failed is left alone.
const REST: Duration = Duration::from_secs(1);

/// How long a resolved pointer may be used by new requests.
const POINTERS_LAST: Duration = Duration::from_secs(1);

/// Distinct selections make distinct statements; each connection keeps this many prepared.
const PREPARED_STATEMENTS: usize = 256;

/// How a store is connected to.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    pub max_connections: u32,
    /// How long a query waits for a connection before it is refused.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on one statement before it gives up.
    pub statement_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

/// Every read store this process may answer from.
#[derive(Debug, Clone)]
pub struct ReadStores(Arc<[Arc<Replica>]>);

/// The state of one store, as health checks report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    pub name: String,
    /// Why it cannot answer; `None` when it can.
    pub fault: Option<String>,
}

/// One read store.
#[derive(Debug)]
pub(crate) struct Replica {
    name: String,
    pool: PgPool,
    failed_at: Mutex<Option<Instant>>,
    pointers: Mutex<Option<Arc<Pointers>>>,
    /// One refresh at a time; the others go on with what they have.
    refreshing: tokio::sync::Mutex<()>,
}

impl ReadStores {
    /// Stores over pools that already exist, by name.
    pub fn new(pools: impl IntoIterator<Item = (String, PgPool)>) -> Self {
        Self(
            pools
                .into_iter()
                .map(|(name, pool)| Arc::new(Replica::new(name, pool)))
                .collect(),
        )
    }

    /// Stores by name and URL. Nothing is connected to yet: a store may start after this process.
    ///
    /// # Errors
    /// Where a URL cannot be read.
    pub fn connect<'u>(
        urls: impl IntoIterator<Item = (String, &'u str)>,
        options: &PoolOptions,
    ) -> Result<Self, sqlx::Error> {
        let timeout_ms = options.statement_timeout.as_millis().to_string();
        let mut pools = Vec::new();
        for (name, url) in urls {
            let connect = url
                .parse::<PgConnectOptions>()?
                .application_name("comanda-query-api")
                .statement_cache_capacity(PREPARED_STATEMENTS)
                .options([("statement_timeout", timeout_ms.as_str())]);
            let pool = PgPoolOptions::new()
                .max_connections(options.max_connections)
                .acquire_timeout(options.acquire_timeout)
                .connect_lazy_with(connect);
            pools.push((name, pool));
        }
        Ok(Self::new(pools))
    }

    /// Asks every store whether it answers.
    pub async fn health(&self) -> Vec<StoreHealth> {
        let mut healths = Vec::with_capacity(self.0.len());
        for replica in self.0.iter() {
            let fault = match sqlx::query("SELECT 1").execute(&replica.pool).await {
                Ok(_) => {
                    replica.recovered();
                    replica.pointers().await.err().map(|error| error.to_string())
                }
                Err(error) => Some(replica.failed(error).to_string()),
            };
            healths.push(StoreHealth {
                name: replica.name.clone(),
                fault,
            });
        }
        healths
    }

    /// The stores worth asking, best first. One that failed a moment ago is asked only when there
    /// is no other and its rest is over.
    pub(crate) fn in_order(&self) -> Vec<Arc<Replica>> {
        self.0
            .iter()
            .filter(|replica| replica.is_worth_asking())
            .cloned()
            .collect()
    }

    /// A store to answer from, with its generations.
    pub(crate) async fn pick(&self) -> Result<(Arc<Replica>, Arc<Pointers>), Error> {
        let mut refusal = Error::Unavailable(sqlx::Error::PoolClosed);
        for replica in self.in_order() {
            match replica.pointers().await {
                Ok(pointers) => return Ok((replica, pointers)),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

impl Replica {
    fn new(name: String, pool: PgPool) -> Self {
        Self {
            name,
            pool,
            failed_at: Mutex::default(),
            pointers: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn is_worth_asking(&self) -> bool {
        self.failed_at().is_none_or(|at| at.elapsed() >= REST)
    }

    fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recovered(&self) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sorts an error of this store, and remembers when it is down.
    pub(crate) fn failed(&self, error: sqlx::Error) -> Error {
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
                    *self.pointers.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        tracing::warn!(read_store.name = %self.name, error = &error as &dyn std::error::Error, "the read store does not answer");
        Error::Unavailable(error)
    }

    /// The generations to read, at most [`POINTERS_LAST`] old.
    pub(crate) async fn pointers(&self) -> Result<Arc<Pointers>, Error> {
        let cached = self.cached_pointers();
        if let Some(pointers) = cached
            .as_ref()
            .filter(|pointers| pointers.read_at.elapsed() < POINTERS_LAST)
        {
            return Ok(Arc::clone(pointers));
        }
        let _refreshing = match (self.refreshing.try_lock(), cached) {
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
        let pointers = Arc::new(Pointers::read(&self.pool).await.map_err(|error| self.failed(error))?);
        self.recovered();
        *self.pointers.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pointers));
        Ok(pointers)
    }

    fn cached_pointers(&self) -> Option<Arc<Pointers>> {
        self.pointers.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let rows = sqlx::query(
            "SELECT asked.at::int, slot_position, incarnation \
             FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS asked (read_model, generation, at) \
             JOIN meta.checkpoints USING (read_model, generation) WHERE slot = $3",
        )
        .bind(&names)
        .bind(&generations)
        .bind(i32::from(slot.0))
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.failed(error))?;
        let mut reached = HashMap::new();
        for row in rows {
            let at: i32 = crate::sql::get(&row, 0)?;
            let (slot_position, incarnation) = (crate::sql::get(&row, 1)?, crate::sql::get(&row, 2)?);
            let checkpoint = Checkpoint::stored(incarnation, slot_position);
            if let Some(&model) = usize::try_from(at).ok().and_then(|at| models.get(at.checked_sub(1)?)) {
                reached.insert(model, checkpoint);
            }
        }
        Ok(reached)
    }
}
