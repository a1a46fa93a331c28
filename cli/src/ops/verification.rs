//! `/ops/v1/projections/verification`: read models held against the log. What `comanda projections
//! verify` does, for a dashboard: it takes as long as it takes, so it is begun by one request and
//! looked at by others, at the process that was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};
use service::extract::Query;
use service::json::JsonBody;
use service::problem::Problem;
use utoipa::ToSchema;
use verify::{Progress, Scope, Target};

use super::Ops;
use super::operator::Operator;
use super::projections::ReadStoreQuery;
use super::refusal::{VERIFICATION_RUNNING, of_verification};
use crate::verbs::projections::report_as_json;

/// What to verify.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewVerification {
    /// All that are served where it is left out.
    read_models: Vec<String>,
    /// Only this tenant's rows.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
}

/// The last verification that this process was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latest(Arc<Mutex<Standing>>);

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Never,
    Running(Progress),
    Done(Value),
    Failed(String),
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may begin: there is one at a time.
    fn begin(&self) -> bool {
        let mut standing = self.lock();
        let idle = !matches!(*standing, Standing::Running(_));
        if idle {
            *standing = Standing::Running(Progress::default());
        }
        idle
    }

    fn set(&self, standing: Standing) {
        *self.lock() = standing;
    }
}

/// Hold read models against the log, row by row.
#[utoipa::path(
    post,
    path = "/ops/v1/projections/verification",
    tag = "Projections",
    params(ReadStoreQuery),
    request_body = NewVerification,
    responses(
        (status = 202, description = "It runs; look at it with GET.", body = Value),
        (status = 409, description = "One runs already."),
        (status = 422, description = "There is no such read model."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn create_verification(
    State(ops): State<Ops>,
    _: Operator,
    query: Result<Query<ReadStoreQuery>, Problem>,
    body: JsonBody<NewVerification>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let NewVerification { read_models, tenant } = body.value;
    let pool = ops.read_store(query?.0.read_store.as_deref())?;
    let mut targets = Vec::new();
    for name in &read_models {
        targets.push(
            Target::find(&pool, name, None)
                .await
                .map_err(|error| of_verification(&error))?,
        );
    }
    if read_models.is_empty() {
        targets = Target::served(&pool).await.map_err(|error| of_verification(&error))?;
    }
    if !ops.verification.begin() {
        let problem = "A verification runs already at this process.";
        return Err(Problem::new(StatusCode::CONFLICT, VERIFICATION_RUNNING, problem));
    }
    let scope = Scope {
        tenant,
        ..Scope::default()
    };
    let (store, latest, shutdown) = (ops.store.clone(), ops.verification.clone(), ops.shutdown.clone());
    ops.shutdown.spawn("verification", async move {
        let observe = |progress: &Progress| latest.set(Standing::Running(*progress));
        let report = tokio::select! {
            report = verify::run_observed(&store, &pool, &targets, &scope, &observe) => report,
            () = shutdown.cancelled() => return,
        };
        latest.set(match report {
            Ok(report) => Standing::Done(report_as_json(&report)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a verification failed");
                Standing::Failed(error.to_string())
            }
        });
    });
    Ok((StatusCode::ACCEPTED, Json(json!({"state": "running"}))))
}

/// The last verification that this process was asked for.
#[utoipa::path(
    get,
    path = "/ops/v1/projections/verification",
    tag = "Projections",
    responses(
        (status = 200, description = "`running` with its progress, `done` with its report, or `failed` with the reason.",
            body = Value),
        (status = 404, description = "None was asked for since this process started."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn get_verification(State(ops): State<Ops>, _: Operator) -> Result<Json<Value>, Problem> {
    Ok(Json(match &*ops.verification.lock() {
        Standing::Never => return Err(Problem::not_found()),
        Standing::Running(progress) => json!({
            "state": "running", "slots_done": progress.slots_done, "slots": progress.slots, "rows": progress.rows,
            "events": progress.events, "differences": progress.differences,
        }),
        Standing::Done(report) => json!({"state": "done", "report": report}),
        Standing::Failed(reason) => json!({"state": "failed", "reason": reason}),
    }))
}
