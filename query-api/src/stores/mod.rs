//! The read stores that queries are answered from, and the standbys of each: all of them endpoints
//! of one kind, told apart only by their health and by how far their checkpoints are.
//!
//! Guarantees: a request goes to an endpoint that answers, as fresh as there is one; among the
//! fresh ones to that with the fewest requests. One that fails or hangs is left alone (`breaker`),
//! found out by requests and by the `watch`, and requests that it let down are sent to the others,
//! each once. While none answers, queries are refused at once. Pools are bounded: more load waits for a
//! connection at most the acquire time-out.

mod breaker;
mod known;
mod replica;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_store::PositionToken;
use service::Shutdown;
use service::settings::{QuerySettings, ReadStoreSettings};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::error::Error;
use crate::read_model::ReadModel;
use breaker::Breaker;
use known::Furthest;
pub(crate) use replica::{Lease, Replica};

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

/// Every endpoint this process may answer from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReadStores(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    replicas: Vec<Arc<Replica>>,
    furthest: Mutex<Furthest>,
    /// Events behind the furthest up to which an endpoint counts as fresh.
    fresh_lag: u64,
    check_every: Duration,
    watched: AtomicBool,
    turn: AtomicUsize,
}

/// The state of one endpoint, as health checks report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// The store's name; of a standby `store/standby`.
    pub name: String,
    /// Why it cannot answer; `None` when it can.
    pub fault: Option<String>,
    /// Events behind the furthest endpoint known, in the read model that is furthest behind;
    /// `None` where nobody watches, or it never answered.
    pub lag_events: Option<u64>,
    /// Whether requests are kept away from it.
    pub breaker_open: bool,
}

impl ReadStores {
    /// Stores over pools that already exist, by name.
    pub fn new(pools: impl IntoIterator<Item = (String, PgPool)>, settings: &QuerySettings) -> Self {
        let breaker = Breaker::new(
            settings.breaker_failures,
            Duration::from_millis(settings.breaker_open_ms),
        );
        let replica = |(name, pool)| Arc::new(Replica::new(name, pool, breaker));
        Self(Arc::new(Parts {
            replicas: pools.into_iter().map(replica).collect(),
            furthest: Mutex::default(),
            fresh_lag: settings.replica_fresh_lag,
            check_every: Duration::from_millis(settings.replica_check_ms.max(1)),
            watched: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        }))
    }

    /// Stores by name and URL, as [`QuerySettings::default`] would have them treated. Nothing is
    /// connected to yet: a store may start after this process.
    ///
    /// # Errors
    /// Where a URL cannot be read.
    pub fn connect<'u>(
        urls: impl IntoIterator<Item = (String, &'u str)>,
        options: &PoolOptions,
    ) -> Result<Self, sqlx::Error> {
        let pools = urls.into_iter().map(|(name, url)| Ok((name, pool(url, options)?)));
        let pools = pools.collect::<Result<Vec<_>, sqlx::Error>>()?;
        Ok(Self::new(pools, &QuerySettings::default()))
    }

    /// The stores of the settings with the standbys of each; `connections` of each store holds for
    /// every endpoint of it. Nothing is connected to yet.
    ///
    /// # Errors
    /// Where a URL cannot be read.
    pub fn open(
        stores: &[ReadStoreSettings],
        query: &QuerySettings,
        options: &PoolOptions,
    ) -> Result<Self, sqlx::Error> {
        let mut pools = Vec::new();
        for store in stores {
            let options = PoolOptions {
                max_connections: store.connections,
                ..options.clone()
            };
            pools.push((store.name.clone(), pool(store.url.expose(), &options)?));
            for replica in &store.replicas {
                let name = format!("{}/{}", store.name, replica.name);
                pools.push((name, pool(replica.url.expose(), &options)?));
            }
        }
        Ok(Self::new(pools, query))
    }

    /// Starts looking how every endpoint is, until `shutdown`. Without it there is no lag to choose
    /// by, and what fails is found out by requests alone.
    pub fn watch(&self, shutdown: &Shutdown) {
        if self.0.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        for (at, replica) in self.0.replicas.iter().enumerate() {
            let task = watch::run(self.clone(), at, self.0.check_every, shutdown.clone());
            shutdown.spawn(format!("read-store-watch {}", replica.name()), task);
        }
    }

    /// How every endpoint is: what the watch knows, or where it has not looked, the answer to a
    /// question of our own.
    pub async fn health(&self) -> Vec<StoreHealth> {
        futures::future::join_all(self.0.replicas.iter().map(|replica| health(replica))).await
    }

    pub(crate) fn len(&self) -> usize {
        self.0.replicas.len()
    }

    fn replica(&self, at: usize) -> Option<Arc<Replica>> {
        self.0.replicas.get(at).cloned()
    }

    fn compare(&self, replica: &Replica) -> u64 {
        let mut furthest = self.0.furthest.lock().unwrap_or_else(PoisonError::into_inner);
        replica.compared_to(&mut furthest)
    }

    /// The endpoints worth asking, best first: the fresh ones by the requests that they have in
    /// flight, taking turns where equal; then the others, least behind first.
    pub(crate) fn in_order(&self, avoid: &[Arc<Replica>]) -> Vec<Arc<Replica>> {
        let (replicas, watched) = (&self.0.replicas, self.0.watched.load(Ordering::Relaxed));
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<_> = (0..replicas.len())
            .map(|at| &replicas[(at + turn) % replicas.len()])
            .filter(|replica| !avoid.iter().any(|avoided| Arc::ptr_eq(avoided, replica)) && replica.admits())
            .map(|replica| {
                // One that was not looked at yet may be anything.
                let unknown = if watched { u64::MAX } else { 0 };
                let lag = replica.watched().and_then(|it| it.lag).unwrap_or(unknown);
                let behind = if lag <= self.0.fresh_lag { 0 } else { lag };
                ((behind, replica.in_flight()), replica)
            })
            .collect();
        order.sort_by_key(|(key, _)| *key);
        order.into_iter().map(|(_, replica)| Arc::clone(replica)).collect()
    }

    /// An endpoint to answer from, with its generations.
    pub(crate) async fn pick(&self, avoid: &[Arc<Replica>]) -> Result<Lease, Error> {
        let mut refusal = Error::Unavailable(sqlx::Error::PoolClosed);
        for replica in self.in_order(avoid) {
            if !replica.enter() {
                continue;
            }
            match replica.pointers().await {
                Ok(pointers) => return Ok(Lease::new(replica, pointers)),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// The best endpoint that is known, without asking, to have passed `token`.
    pub(crate) fn known_past(
        &self,
        models: &[ReadModel],
        token: &PositionToken,
        avoid: &[Arc<Replica>],
    ) -> Option<Lease> {
        self.in_order(avoid).into_iter().find_map(|replica| {
            let pointers = replica.current_pointers()?;
            let passed = replica.is_known_past(&pointers, models, token);
            (passed && replica.enter()).then(|| Lease::new(replica, pointers))
        })
    }

    /// The endpoints by how soon they may reach `token`: those furthest in its slot first.
    pub(crate) fn soonest(
        &self,
        models: &[ReadModel],
        token: &PositionToken,
        avoid: &[Arc<Replica>],
    ) -> Vec<Arc<Replica>> {
        let mut order = self.in_order(avoid);
        order.sort_by_key(|replica| std::cmp::Reverse(replica.known_at(models, token.slot)));
        order
    }
}

async fn health(replica: &Replica) -> StoreHealth {
    let (lag_events, fault) = match replica.watched() {
        Some(watched) => (watched.lag, watched.fault),
        None => {
            let asked = async {
                replica.run(sqlx::query("SELECT 1").execute(replica.pool())).await?;
                replica.pointers().await
            };
            (None, asked.await.err().map(|error| error.to_string()))
        }
    };
    StoreHealth {
        name: replica.name().to_owned(),
        fault,
        lag_events,
        breaker_open: !replica.is_closed(),
    }
}

fn pool(url: &str, options: &PoolOptions) -> Result<PgPool, sqlx::Error> {
    let timeout_ms = options.statement_timeout.as_millis().to_string();
    let connect = url
        .parse::<PgConnectOptions>()?
        .application_name("comanda-query-api")
        .statement_cache_capacity(PREPARED_STATEMENTS)
        .options([("statement_timeout", timeout_ms.as_str())]);
    Ok(PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.acquire_timeout)
        .connect_lazy_with(connect))
}
