//! `/ops/v1/projections`: read models and their generations. What `comanda projections` does.
//!
//! A rebuild that was ordered here goes on in this process. How far it is stands in the read store;
//! one whose process died is gone on with by ordering it again, here or elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use projector::rebuild::{self, Options, Status, SwitchWhen};
use serde::Deserialize;
use serde_json::{Value, json};
use service::extract::{Path, Query};
use service::json::JsonBody;
use service::problem::Problem;
use sqlx::PgPool;
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

use super::Ops;
use super::looks::json;
use super::operator::Operator;
use super::refusal::of_projections;
use crate::verbs::projections::longest_read;

/// Which read store.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadStoreQuery {
    /// The read store's name; the one that projectors of these settings write where it is left out.
    pub(super) read_store: Option<String>,
}

/// A rebuild.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewRebuild {
    /// All where it is left out.
    read_models: Vec<String>,
    /// Gives up what an interrupted rebuild has filled.
    from_scratch: bool,
    /// Leaves the switch to `POST /ops/v1/projections/{read_model}/switch`.
    manual_switch: bool,
}

/// Which generation is to be served.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewSwitch {
    /// The newest that is fed where it is left out.
    to: Option<i32>,
}

/// Every generation of every read model: position, lag, parked streams, and how it was or is filled.
#[utoipa::path(
    get,
    path = "/ops/v1/projections",
    tag = "Projections",
    params(ReadStoreQuery),
    responses((status = 200, description = "What `comanda projections list --by-slots -o json` prints, but for `events_per_second`, which is null: only a rebuild's own is told.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn list_projections(
    State(ops): State<Ops>,
    _: Operator,
    query: Result<Query<ReadStoreQuery>, Problem>,
) -> Result<Json<Value>, Problem> {
    let pool = ops.read_store(query?.0.read_store.as_deref())?;
    let listed = rebuild::list(&ops.store, &pool, None)
        .await
        .map_err(|error| of_projections(&error))?;
    json(&listed).map(Json)
}

/// Rebuild read models beside the generations that are served.
///
/// Answered once the rebuild has begun; `GET /ops/v1/projections` says how it goes on.
#[utoipa::path(
    post,
    path = "/ops/v1/projections/rebuild",
    tag = "Projections",
    params(ReadStoreQuery),
    request_body = NewRebuild,
    responses(
        (status = 202, description = "The generations that are being filled.", body = Value),
        (status = 409, description = "One of them is being rebuilt already."),
        (status = 422, description = "There is no such read model."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn create_rebuild(
    State(ops): State<Ops>,
    _: Operator,
    query: Result<Query<ReadStoreQuery>, Problem>,
    body: JsonBody<NewRebuild>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let pool = ops.read_store(query?.0.read_store.as_deref())?;
    let NewRebuild {
        read_models,
        from_scratch,
        manual_switch,
    } = body.value;
    let models = rebuild::named(&read_models).map_err(|error| of_projections(&error))?;
    let options = Options {
        switch: if manual_switch {
            SwitchWhen::Asked
        } else {
            SwitchWhen::Verified
        },
        from_scratch,
        holder: crate::registry::name_of_this_process(),
        ..Options::default()
    };
    let (begun, begins) = oneshot::channel();
    let (store, shutdown) = (ops.store.clone(), ops.shutdown.clone());
    ops.shutdown.spawn("rebuild", async move {
        let begun = Begun::new(begun);
        let told = Arc::clone(&begun);
        let observer = move |status: &Status| told.with(status);
        let outcome = tokio::select! {
            outcome = rebuild::rebuild(&store, &pool, &models, &options, &observer) => outcome,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = outcome {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a rebuild cannot go on; what it filled is kept"
            );
            begun.failed(of_projections(&error));
        }
    });
    // Its sender ends with the task: where nothing was said, it ended before it began.
    let generations = begins.await.unwrap_or_else(|_| Err(Problem::unavailable()))?;
    Ok((StatusCode::ACCEPTED, Json(generations)))
}

/// Send queries to another generation.
#[utoipa::path(
    post,
    path = "/ops/v1/projections/{read_model}/switch",
    tag = "Projections",
    params(("read_model" = String, Path, description = "The read model."), ReadStoreQuery),
    request_body = NewSwitch,
    responses(
        (status = 200, description = "From which generation to which.", body = Value),
        (status = 404, description = "There is no such generation."),
        (status = 409, description = "It is behind the one that is served, or cannot be served."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn switch_projection(
    State(ops): State<Ops>,
    _: Operator,
    Path(read_model): Path<String>,
    query: Result<Query<ReadStoreQuery>, Problem>,
    body: JsonBody<NewSwitch>,
) -> Result<Json<Value>, Problem> {
    let pool = ops.read_store(query?.0.read_store.as_deref())?;
    let switched = rebuild::switch(&pool, &read_model, body.value.to).await;
    switched.map(shown).map_err(|error| of_projections(&error))
}

/// Send queries back to the generation that was served before.
#[utoipa::path(
    post,
    path = "/ops/v1/projections/{read_model}/rollback",
    tag = "Projections",
    params(("read_model" = String, Path, description = "The read model."), ReadStoreQuery),
    responses(
        (status = 200, description = "From which generation to which.", body = Value),
        (status = 409, description = "No earlier generation is kept and fed."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn roll_projection_back(
    State(ops): State<Ops>,
    _: Operator,
    Path(read_model): Path<String>,
    query: Result<Query<ReadStoreQuery>, Problem>,
) -> Result<Json<Value>, Problem> {
    let pool = ops.read_store(query?.0.read_store.as_deref())?;
    let switched = rebuild::rollback(&pool, &read_model).await;
    switched.map(shown).map_err(|error| of_projections(&error))
}

/// Free a generation that is not served.
///
/// Taken from queries at once; its tables go when no query can read them any more.
#[utoipa::path(
    delete,
    path = "/ops/v1/projections/{read_model}/generations/{generation}",
    tag = "Projections",
    params(
        ("read_model" = String, Path, description = "The read model."),
        ("generation" = i32, Path, description = "The generation."),
        ReadStoreQuery,
    ),
    responses(
        (status = 202, description = "It is being freed; `GET /ops/v1/projections` shows it until it is gone."),
        (status = 404, description = "There is no such generation."),
        (status = 409, description = "It is served, or being filled."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn delete_generation(
    State(ops): State<Ops>,
    _: Operator,
    Path((read_model, generation)): Path<(String, i32)>,
    query: Result<Query<ReadStoreQuery>, Problem>,
) -> Result<StatusCode, Problem> {
    let pool = ops.read_store(query?.0.read_store.as_deref())?;
    refuse_to_drop(&ops, &pool, &read_model, generation).await?;
    let readers = longest_read(&ops.settings);
    let shutdown = ops.shutdown.clone();
    ops.shutdown.spawn("drop", async move {
        let dropped = tokio::select! {
            dropped = rebuild::drop(&pool, &read_model, generation, readers) => dropped,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = dropped {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                read_model,
                generation,
                error,
                "a generation was not freed; order it again"
            );
        }
    });
    Ok(StatusCode::ACCEPTED)
}

/// What can be told at once.
async fn refuse_to_drop(ops: &Ops, pool: &PgPool, read_model: &str, generation: i32) -> Result<(), Problem> {
    let listed = rebuild::list(&ops.store, pool, None)
        .await
        .map_err(|error| of_projections(&error))?;
    let found = listed
        .into_iter()
        .find(|it| it.read_model == read_model && it.generation == generation);
    let read_model = read_model.to_owned();
    match found {
        None => Err(of_projections(&projector::Error::NoGeneration {
            read_model,
            generation,
        })),
        Some(it) if it.served => Err(of_projections(&projector::Error::Served { read_model, generation })),
        Some(it) => match it.rebuild.filter(|rebuild| rebuild.held && it.state == "filling") {
            None => Ok(()),
            Some(rebuild) => Err(of_projections(&projector::Error::RebuildRunning {
                read_model,
                generation,
                holder: rebuild.holder,
            })),
        },
    }
}

fn shown(switched: rebuild::Switched) -> Json<Value> {
    Json(json!({
        "read_model": switched.read_model, "from": switched.from, "to": switched.to,
        "can_roll_back": switched.can_roll_back,
    }))
}

/// Says once that a rebuild has begun, or why not.
struct Begun(Mutex<Option<oneshot::Sender<Result<Value, Problem>>>>);

impl Begun {
    fn new(sender: oneshot::Sender<Result<Value, Problem>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(sender))))
    }

    fn with(&self, status: &Status) {
        let generations = status.generations.iter();
        let generations = generations.map(|(model, number)| json!({"read_model": model, "generation": number}));
        self.say(Ok(generations.collect()));
    }

    fn failed(&self, problem: Problem) {
        self.say(Err(problem));
    }

    fn say(&self, said: Result<Value, Problem>) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have gone.
            let _ = sender.send(said);
        }
    }
}
