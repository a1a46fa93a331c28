//! `GET /ops/v1/status` and `GET /ops/v1/doctor`: what `comanda status` and `comanda doctor` print.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use service::problem::Problem;
use tokio::time::Instant;

use super::Ops;
use super::operator::Operator;
use crate::diagnosis::diagnose;
use crate::overview::Overview;

/// How long a look is shown again: a look asks every database and every process.
const LIFETIME: Duration = Duration::from_secs(1);

/// The last look of one kind. Held while looking, so that those who ask meanwhile share it.
#[derive(Clone, Default)]
pub(crate) struct Latest(Arc<tokio::sync::Mutex<Option<(Instant, Value)>>>);

impl Latest {
    async fn or<T: serde::Serialize>(&self, look: impl Future<Output = T>) -> Result<Json<Value>, Problem> {
        let mut latest = self.0.lock().await;
        if let Some((made, value)) = latest.as_ref()
            && made.elapsed() < LIFETIME
        {
            return Ok(Json(value.clone()));
        }
        let value = json(&look.await)?;
        *latest = Some((Instant::now(), value.clone()));
        Ok(Json(value))
    }
}

/// Every process, shard, partition, read store and standby.
///
/// What `comanda status -o json` prints. What does not answer is part of the picture.
#[utoipa::path(
    get,
    path = "/ops/v1/status",
    tag = "Platform",
    responses((status = 200, description = "The platform as it stands, at most a second old.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn get_status(State(ops): State<Ops>, _: Operator) -> Result<Json<Value>, Problem> {
    let look = async { Overview::look(&ops.settings, &ops.databases().await).await };
    ops.status.or(look).await
}

/// What is wrong, part by part, and what to do about it.
///
/// What `comanda doctor -o json` prints.
#[utoipa::path(
    get,
    path = "/ops/v1/doctor",
    tag = "Platform",
    responses((status = 200, description = "Every part with its verdict, at most a second old.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn get_findings(State(ops): State<Ops>, _: Operator) -> Result<Json<Value>, Problem> {
    let look = async { diagnose(&ops.settings, &ops.databases().await, &ops.settings.auth).await };
    ops.findings.or(look).await
}

pub(crate) fn json(shown: &impl serde::Serialize) -> Result<Value, Problem> {
    serde_json::to_value(shown).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot be shown");
        Problem::internal()
    })
}
