//! What processes are made of: the log, the command API, the query API, a projector, a relay. `up`
//! runs them all in one process; each role runs one.

pub(crate) mod health;
mod obstacles;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use command_api::CommandApi;
use event_store::{ControlOptions, EventStore, ShardId, ShardOptions};
use projector::{KafkaProjector, Progress, Projector};
use query_api::{History, QueryApi, ReadStores};
use relay::Relay;
use service::Settings;
use service::auth::{AuthError, Verifier};
use service::settings::{FeedKind, ReadStoreSettings};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::databases::{DatabaseError, Databases};
use crate::exit::Failure;
use crate::ops::{self, Ops};
use crate::process::Process;

/// How long a batch of the projector waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that a projector works with, besides one per shard.
const PROJECTOR_CONNECTIONS: u32 = 5;

/// Why a process cannot be put together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error(transparent)]
    Database(Box<DatabaseError>),
    #[error("the URL of read store {name} cannot be used")]
    ReadStore { name: String, source: sqlx::Error },
    #[error("no read store is named {0}")]
    NoReadStore(String),
    #[error("the event store cannot be used")]
    EventStore(#[from] event_store::Error),
    #[error("the log cannot be published")]
    Relay(#[from] relay::Error),
    #[error("tokens cannot be checked")]
    Auth(#[from] AuthError),
}

impl From<DatabaseError> for PartError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Box::new(error))
    }
}

impl From<PartError> for Failure {
    fn from(error: PartError) -> Self {
        Self::failed(error)
    }
}

/// What must be let go when the process ends.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) router: Router,
    pub(crate) store: Option<EventStore>,
    pub(crate) read_store: Option<PgPool>,
}

impl Parts {
    /// Commits what was handed to the log, then lets the connections go.
    pub(crate) async fn close(&self) {
        if let Some(store) = &self.store {
            store.close().await;
        }
        if let Some(pool) = &self.read_store {
            pool.close().await;
        }
    }
}

/// Every part in one process.
pub(crate) async fn all(process: &Process, databases: &Databases) -> Result<Parts, PartError> {
    let settings = &process.settings;
    let store = log(process).await?;
    let verifier = verifier(process)?;
    let (read_store, progress) = start_projector(process, &store)?;
    watch_sessions(process, &store, true)?;
    if settings.projector.feed == FeedKind::Kafka {
        start_relay(process, &store)?;
    }
    let router = command_api(process, &store, &verifier)
        .merge(ops_api(process, databases.clone(), &store, Arc::clone(&verifier))?)
        .merge(query_api(process, verifier, Some(&progress), Some(&store))?);
    Ok(Parts {
        router,
        store: Some(store),
        read_store: Some(read_store),
    })
}

/// The shards that the settings name.
pub(crate) fn shards(settings: &Settings) -> Vec<ShardOptions> {
    let shards = settings.event_store.shards.iter().map(|shard| ShardOptions {
        id: ShardId(shard.id),
        url: shard.url.expose().to_owned(),
    });
    shards.collect()
}

/// The event store as the settings have it.
pub(crate) fn log_options(settings: &Settings) -> event_store::Options {
    let (log, control) = (&settings.event_store, &settings.control.url);
    let control = Some(control).filter(|url| !url.is_empty()).map(|url| ControlOptions {
        url: url.expose().to_owned(),
    });
    event_store::Options {
        shards: shards(settings),
        control,
        placement_poll: Duration::from_millis(log.placement_poll_ms),
        queue_capacity: log.queue_capacity,
        batch_max: log.batch_max,
        read_connections: log.connections,
        cached_events: log.cached_events,
        lock_timeout: Duration::from_millis(log.lock_timeout_ms),
        statement_timeout: Duration::from_millis(log.statement_timeout_ms),
        poll_interval: Duration::from_millis(log.poll_interval_ms),
        ..event_store::Options::default()
    }
}

/// Opens the log, and has health show it.
pub(crate) async fn log(process: &Process) -> Result<EventStore, PartError> {
    let store = EventStore::connect(log_options(&process.settings)).await?;
    health::watch_log(&process.health, &store);
    Ok(store)
}

/// Has health show the sessions that stand in the way of the shards, and of the read store where this
/// process writes one.
pub(crate) fn watch_sessions(process: &Process, store: &EventStore, writes: bool) -> Result<(), PartError> {
    let written = match writes {
        true => Some(written(&process.settings)?),
        false => None,
    };
    let read_store = written.map(|store| (format!("read store {}", store.name), store.url.expose().to_owned()));
    let store = store.clone();
    obstacles::watch(&process.health, &process.behind, move || {
        let shards = store.shards().into_iter().filter_map(|id| {
            let options = store.shard_options(id).ok()?;
            Some((format!("shard {id}"), options.url))
        });
        shards.chain(read_store.clone()).collect()
    });
    Ok(())
}

/// Who checks tokens, with keys that are read again while the process runs.
pub(crate) fn verifier(process: &Process) -> Result<Arc<Verifier>, PartError> {
    let verifier = Arc::new(Verifier::new(&process.settings.auth)?);
    verifier.follow_keys(&process.behind);
    verifier.register_health(&process.health);
    Ok(verifier)
}

/// Commands in, events out.
pub(crate) fn command_api(process: &Process, store: &EventStore, verifier: &Arc<Verifier>) -> Router {
    let settings = process.settings.command.clone();
    let api = CommandApi::new(store.clone(), Arc::clone(verifier), settings).with_streams_ended_by(&process.front);
    api.follow_catalogue(&process.behind);
    command_api::router(api)
}

/// Queries. With a projector in the same process, those that wait for a write wake at once; with the
/// log open in it, the past is read from there, else from shards that are opened when needed.
pub(crate) fn query_api(
    process: &Process,
    verifier: Arc<Verifier>,
    progress: Option<&Progress>,
    log: Option<&EventStore>,
) -> Result<Router, PartError> {
    let settings = &process.settings;
    let options = query_api::PoolOptions::default();
    let stores = ReadStores::open(&settings.read_stores, &settings.query, &options);
    let stores = stores.map_err(|source| PartError::ReadStore {
        name: "of the settings".to_owned(),
        source,
    })?;
    stores.watch(&process.behind);
    health::watch_read_stores(&process.health, &stores);
    let history = match log {
        Some(store) => History::of(store.clone()),
        None if settings.event_store.shards.is_empty() => History::default(),
        None => History::opened_when_needed(log_options(settings)),
    };
    let api = QueryApi::new(stores, verifier, &settings.query).with_history(history);
    let api = match progress {
        Some(progress) => api.with_progress(progress.commits()),
        None => api,
    };
    Ok(query_api::router(api))
}

/// What operators see and do.
pub(crate) fn ops_api(
    process: &Process,
    databases: Databases,
    store: &EventStore,
    verifier: Arc<Verifier>,
) -> Result<Router, PartError> {
    let (settings, shutdown) = (process.settings.clone(), process.behind.clone());
    let ops = Ops::new(settings, databases, verifier, store.clone(), shutdown)?;
    Ok(ops::router(ops))
}

/// Starts to keep the read models of one read store, from the feed that the settings choose.
pub(crate) fn start_projector(process: &Process, store: &EventStore) -> Result<(PgPool, Progress), PartError> {
    let settings = &process.settings;
    let pool = written_store(settings)?;
    let chosen = settings.projector.clone();
    let progress = match chosen.feed {
        FeedKind::Shards => {
            let projector = Projector::new(store.clone(), pool.clone(), chosen);
            let progress = projector.progress().clone();
            process.run(
                "projector",
                move |shutdown| async move { projector.run(shutdown).await },
            );
            progress
        }
        FeedKind::Kafka => {
            let projector = KafkaProjector::new(store.clone(), pool.clone(), &settings.kafka, chosen);
            let progress = projector.progress().clone();
            process.run(
                "projector",
                move |shutdown| async move { projector.run(shutdown).await },
            );
            progress
        }
    };
    health::watch_projector(&process.health, &progress);
    Ok((pool, progress))
}

/// The read store that this process writes.
pub(crate) fn written(settings: &Settings) -> Result<&ReadStoreSettings, PartError> {
    let name = &settings.projector.read_store;
    let found = settings.read_stores.iter().find(|store| store.name == *name);
    found.ok_or_else(|| PartError::NoReadStore(name.clone()))
}

fn written_store(settings: &Settings) -> Result<PgPool, PartError> {
    let store = written(settings)?;
    let options: PgConnectOptions = store.url.expose().parse().map_err(|source| PartError::ReadStore {
        name: store.name.clone(),
        source,
    })?;
    let shards = u32::try_from(settings.event_store.shards.len()).unwrap_or(u32::MAX);
    let needed = shards.saturating_add(PROJECTOR_CONNECTIONS);
    Ok(PgPoolOptions::new()
        .max_connections(store.connections.max(needed))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options.application_name("comanda-projector")))
}

/// Starts to publish the shards that fall to this process.
pub(crate) fn start_relay(process: &Process, store: &EventStore) -> Result<(), PartError> {
    let settings = &process.settings;
    let relay = Relay::new(store.clone(), &settings.kafka, settings.relay.clone())?;
    health::watch_relay(&process.health, relay.status());
    process.run("relay", move |shutdown| relay.run(shutdown));
    Ok(())
}
