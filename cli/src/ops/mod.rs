//! The operators' HTTP API: what the verbs show and do, for a dashboard or a script elsewhere.
//!
//! Every route asks for the scope `ops`, which no tenant's token has by default: what is shown here
//! is of all tenants. A long action is answered 202 at once; how it goes on stands in the database
//! that it works on, so it is seen from every process, and after this one has died.

mod looks;
mod moves;
mod operator;
mod parked;
mod projections;
mod refusal;
mod verification;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::http::StatusCode;
use event_store::EventStore;
use service::auth::Verifier;
use service::problem::Problem;
use service::settings::ReadStoreSettings;
use service::{Settings, Shutdown};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::oneshot;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::Databases;
use crate::parts::PartError;

/// Connections to a read store; a rebuild takes six, a verification four.
const CONNECTIONS: u32 = 12;
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything the routes need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ops {
    settings: Arc<Settings>,
    databases: Arc<Databases>,
    verifier: Arc<Verifier>,
    store: EventStore,
    /// By name, the first one first.
    read_stores: Arc<[(String, PgPool)]>,
    /// What goes on behind the requests.
    shutdown: Shutdown,
    verification: verification::Latest,
    status: looks::Latest,
    findings: looks::Latest,
}

impl Ops {
    /// Nothing is connected to yet.
    ///
    /// # Errors
    /// Where a read store's URL cannot be read.
    pub(crate) fn new(
        settings: Settings,
        databases: Databases,
        verifier: Arc<Verifier>,
        store: EventStore,
        shutdown: Shutdown,
    ) -> Result<Self, PartError> {
        let pool = |of: &ReadStoreSettings| {
            let url: PgConnectOptions = of.url.expose().parse().map_err(|source| PartError::ReadStore {
                name: of.name.clone(),
                source,
            })?;
            let options = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(PATIENCE);
            let pool = options.connect_lazy_with(url.application_name("comanda-ops"));
            Ok::<_, PartError>((of.name.clone(), pool))
        };
        let read_stores = settings.read_stores.iter().map(pool).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            settings: Arc::new(settings),
            databases: Arc::new(databases),
            verifier,
            store,
            read_stores: read_stores.into(),
            shutdown,
            verification: verification::Latest::default(),
            status: looks::Latest::default(),
            findings: looks::Latest::default(),
        })
    }

    /// Carries something out to its end, whether or not the client waits for it.
    async fn to_its_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let (done, outcome) = oneshot::channel();
        self.shutdown.spawn(name, async move {
            // Whoever asked may have gone.
            let _ = done.send(work.await);
        });
        outcome.await.unwrap_or_else(|_| Err(Problem::unavailable()))
    }

    /// A read store, by name; the first one where none is named.
    fn read_store(&self, name: Option<&str>) -> Result<PgPool, Problem> {
        let found = self
            .read_stores
            .iter()
            .find(|(its, _)| name.is_none_or(|name| name == its));
        let pool = found.map(|(_, pool)| pool.clone());
        pool.ok_or_else(|| {
            let names: Vec<&str> = self.read_stores.iter().map(|(name, _)| name.as_str()).collect();
            let detail = format!("There is no such read store; there are: {}.", names.join(", "));
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refusal::UNKNOWN_READ_STORE, detail)
        })
    }

    /// The databases, with shards that were added since the start.
    async fn databases(&self) -> Databases {
        self.databases.as_ref().clone().with_registered().await
    }
}

impl FromRef<Ops> for Arc<Verifier> {
    fn from_ref(ops: &Ops) -> Self {
        Self::clone(&ops.verifier)
    }
}

/// What no single route says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Comanda operations API",
        description = "The platform at a glance, and what operators do to it. Every route needs a token with the \
                       scope `ops`; errors are problem documents (RFC 9457) with a stable `code`.",
    ),
    tags(
        (name = "Platform", description = "Every process, shard, partition, read store and standby."),
        (name = "Projections", description = "Read models: generations, rebuilds, switches, verification."),
        (name = "Parked streams", description = "What read models could not fold."),
        (name = "Shards", description = "Slots on their way from shard to shard."),
    ),
)]
struct Document;

fn routes() -> OpenApiRouter<Ops> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(looks::get_status))
        .routes(routes!(looks::get_findings))
        .routes(routes!(projections::list_projections))
        .routes(routes!(projections::create_rebuild))
        .routes(routes!(projections::switch_projection))
        .routes(routes!(projections::roll_projection_back))
        .routes(routes!(projections::delete_generation))
        .routes(routes!(
            verification::create_verification,
            verification::get_verification
        ))
        .routes(routes!(parked::list_parked))
        .routes(routes!(parked::retry_parked))
        .routes(routes!(moves::create_moves, moves::list_moves))
        .routes(routes!(moves::undo_move))
        .routes(routes!(moves::get_proposed_moves))
}

/// The routes under `/ops/v1`, and their document at `/ops/openapi.json`.
pub(crate) fn router(ops: Ops) -> Router {
    let (routes, document) = routes().split_for_parts();
    let document = Arc::new(document);
    let shown = axum::routing::get(move || std::future::ready(axum::Json(document.as_ref().clone())));
    routes.with_state(ops).route("/ops/openapi.json", shown)
}
