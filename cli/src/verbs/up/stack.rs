//! What answers requests, put together: log, projector, command API, query API.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use command_api::CommandApi;
use event_store::{EventStore, ShardId, ShardOptions};
use projector::Projector;
use query_api::{QueryApi, ReadStores};
use service::auth::{AuthError, Verifier};
use service::health::Health;
use service::settings::EventStoreSettings;
use service::{Settings, Shutdown};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use super::health;
use crate::databases::{DatabaseError, Databases};
use crate::exit::Failure;

/// How long a batch of the projector waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the platform cannot be put together.
#[derive(Debug, thiserror::Error)]
pub(super) enum StackError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("cannot connect to the {database} database")]
    Connect {
        database: &'static str,
        source: sqlx::Error,
    },
    #[error("the event store cannot be used")]
    EventStore(#[from] event_store::Error),
    #[error("the read models cannot be kept")]
    Projector(#[from] projector::Error),
    #[error("tokens cannot be checked")]
    Auth(#[from] AuthError),
}

impl From<StackError> for Failure {
    fn from(error: StackError) -> Self {
        Self::failed(error)
    }
}

/// Everything between the listener and the databases.
pub(super) struct Stack {
    store: EventStore,
    read_store: PgPool,
    router: Router,
    failure: Arc<Mutex<Option<projector::Error>>>,
}

impl Stack {
    /// Migrates the databases, gives the slots of a fresh platform to its shards, and starts what
    /// runs by itself; that ends with `behind`.
    pub(super) async fn start(
        settings: &Settings,
        databases: &Databases,
        health: &Health,
        behind: &Shutdown,
    ) -> Result<Self, StackError> {
        databases.migrate().await?;
        let store = open_store(&settings.event_store, databases).await?;
        let read_store = open_read_store(settings, databases)?;
        projector::ensure_generations(&read_store).await?;
        let verifier = Arc::new(Verifier::new(&settings.auth)?);

        let projector = Projector::new(store.clone(), read_store.clone(), settings.projector.clone());
        let stores = query_stores(settings, databases)?;
        health::watch(health, &store, &stores, projector.progress());
        let commits = projector.progress().commits();
        let command_api = CommandApi::new(store.clone(), Arc::clone(&verifier), settings.command.clone());
        command_api.follow_catalogue(behind);
        let query_api = QueryApi::new(stores, verifier, &settings.query).with_progress(commits);
        let router = command_api::router(command_api).merge(query_api::router(query_api));

        let failure = Arc::default();
        run_projector(projector, behind, Arc::clone(&failure));
        Ok(Self {
            store,
            read_store,
            router,
            failure,
        })
    }

    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Why the stack ended by itself, if it did.
    pub(super) fn failure(&self) -> Option<Failure> {
        let error = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map(|error| StackError::Projector(error).into())
    }

    /// Commits what was handed to the log, then lets the connections go.
    pub(super) async fn close(&self) {
        self.store.close().await;
        self.read_store.close().await;
    }
}

/// A read model that must not be filled by this binary ends the process: half of it would work,
/// and nobody would look.
fn run_projector(projector: Projector, behind: &Shutdown, failure: Arc<Mutex<Option<projector::Error>>>) {
    let shutdown = behind.clone();
    behind.spawn("projector", async move {
        if let Err(error) = projector.run(shutdown.clone()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the projector cannot go on; stopping the process"
            );
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            shutdown.trigger();
        }
    });
}

async fn open_store(settings: &EventStoreSettings, databases: &Databases) -> Result<EventStore, StackError> {
    let shards = databases.shards().iter().map(|(id, url)| ShardOptions {
        id: ShardId(*id),
        url: url.clone(),
    });
    let shards: Vec<ShardOptions> = shards.collect();
    let failed = |source| StackError::Connect {
        database: "control",
        source,
    };
    let mut control = PgConnection::connect(databases.control()).await.map_err(failed)?;
    event_store::bootstrap(&mut control, &shards).await?;
    control.close().await.map_err(failed)?;
    let options = event_store::Options {
        shards,
        queue_capacity: settings.queue_capacity,
        batch_max: settings.batch_max,
        read_connections: settings.connections,
        cached_events: settings.cached_events,
        lock_timeout: Duration::from_millis(settings.lock_timeout_ms),
        statement_timeout: Duration::from_millis(settings.statement_timeout_ms),
        poll_interval: Duration::from_millis(settings.poll_interval_ms),
        ..event_store::Options::default()
    };
    Ok(EventStore::connect(options).await?)
}

/// The projector's connections: one per shard's feed, and one for looking.
fn open_read_store(settings: &Settings, databases: &Databases) -> Result<PgPool, StackError> {
    let failed = |source| StackError::Connect {
        database: "read store",
        source,
    };
    let options: PgConnectOptions = databases.read_store().parse().map_err(failed)?;
    let needed = u32::try_from(databases.shards().len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    Ok(PgPoolOptions::new()
        .max_connections(settings.read_store.connections.max(needed))
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options.application_name("comanda-projector")))
}

fn query_stores(settings: &Settings, databases: &Databases) -> Result<ReadStores, StackError> {
    let options = query_api::PoolOptions {
        max_connections: settings.read_store.connections,
        ..query_api::PoolOptions::default()
    };
    ReadStores::connect([("read_store".to_owned(), databases.read_store())], &options).map_err(|source| {
        StackError::Connect {
            database: "read store",
            source,
        }
    })
}
