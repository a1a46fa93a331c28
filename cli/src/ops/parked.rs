//! `/ops/v1/parked`: streams that a read model cannot fold. What `comanda parked` does.

use axum::Json;
use axum::extract::State;
use domain::TenantId;
use event_store::ShardId;
use projector::parked::{self, Selection};
use projector::{ShardLog, registry};
use serde::Deserialize;
use serde_json::{Value, json};
use service::extract::Query;
use service::json::JsonBody;
use service::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::Ops;
use super::operator::Operator;
use super::refusal::of_projections;

/// Which parked streams; all where nothing is said.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ParkedFilter {
    /// The read store's name; the one that projectors of these settings write where it is left out.
    read_store: Option<String>,
    read_model: Option<String>,
    generation: Option<i32>,
    #[param(value_type = Option<String>)]
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// By its whole name (`order:tenant/id`), without its kind, or by its id alone.
    stream: Option<String>,
}

impl ParkedFilter {
    fn selection(self) -> Selection {
        Selection {
            read_model: self.read_model,
            generation: self.generation,
            tenant: self.tenant,
            stream: self.stream,
        }
    }
}

/// Parked streams: where each stands still, why, and how many events wait.
#[utoipa::path(
    get,
    path = "/ops/v1/parked",
    tag = "Parked streams",
    params(ParkedFilter),
    responses((status = 200, description = "What `comanda parked list -o json` prints.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn list_parked(
    State(ops): State<Ops>,
    _: Operator,
    query: Result<Query<ParkedFilter>, Problem>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query?;
    let pool = ops.read_store(query.read_store.as_deref())?;
    let listed = parked::list(&pool, &query.selection())
        .await
        .map_err(|error| of_projections(&error))?;
    Ok(Json(listed.iter().map(crate::verbs::parked::as_json).collect()))
}

/// Retry parked streams through today's code, each in order and as far as it goes.
///
/// Goes on to its end also where that takes longer than a request may; `GET /ops/v1/parked` shows what is left.
#[utoipa::path(
    post,
    path = "/ops/v1/parked/retry",
    tag = "Parked streams",
    request_body = ParkedFilter,
    responses((status = 200, description = "What it came to.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn retry_parked(
    State(ops): State<Ops>,
    _: Operator,
    body: JsonBody<ParkedFilter>,
) -> Result<Json<Value>, Problem> {
    let filter = body.value;
    let pool = ops.read_store(filter.read_store.as_deref())?;
    // Reads slots wherever they are, so any shard's will do.
    let first = ops.store.shards().first().copied().unwrap_or(ShardId(0));
    let log = ShardLog::new(ops.store.clone(), first);
    let shutdown = ops.shutdown.clone();
    let retried = async move {
        let (models, selection) = (registry::all(), filter.selection());
        let retried = tokio::select! {
            retried = parked::retry_selected(&pool, &log, &models, &selection) => retried,
            () = shutdown.cancelled() => return Err(Problem::unavailable()),
        };
        retried.map_err(|error| of_projections(&error))
    };
    let retried = ops.to_its_end("retrying parked streams", retried).await?;
    Ok(Json(json!({
        "freed_streams": retried.freed_streams, "still_parked": retried.still_parked,
        "applied_events": retried.applied_events,
    })))
}
