//! The operators' HTTP API: what the verbs show and do, for a dashboard or a script elsewhere.
//!
//! Every route asks for the scope `ops`, which no tenant's token has by default: what is shown here
//! is of all tenants. A long action is answered 202 at once; how it goes on stands in the database
//! that it works on, so it is seen from every process, and after this one has died.

mod looks;
mod operator;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use service::Settings;
use service::auth::Verifier;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::databases::Databases;

/// Everything the routes need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ops {
    pub(crate) settings: Arc<Settings>,
    databases: Arc<Databases>,
    verifier: Arc<Verifier>,
    status: looks::Latest,
    findings: looks::Latest,
}

impl Ops {
    pub(crate) fn new(settings: Settings, databases: Databases, verifier: Arc<Verifier>) -> Self {
        Self {
            settings: Arc::new(settings),
            databases: Arc::new(databases),
            verifier,
            status: looks::Latest::default(),
            findings: looks::Latest::default(),
        }
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
    tags((name = "Platform", description = "Every process, shard, partition, read store and standby.")),
)]
struct Document;

fn routes() -> OpenApiRouter<Ops> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(looks::get_status))
        .routes(routes!(looks::get_findings))
}

/// The routes under `/ops/v1`, and their document at `/ops/openapi.json`.
pub(crate) fn router(ops: Ops) -> Router {
    let (routes, document) = routes().split_for_parts();
    let document = Arc::new(document);
    let shown = axum::routing::get(move || std::future::ready(axum::Json(document.as_ref().clone())));
    routes.with_state(ops).route("/ops/openapi.json", shown)
}
