//! `/ops/v1/moves`: slots on their way from shard to shard. What `comanda shards move|moves|plan` does.
//!
//! A move that was ordered here goes on in this process. It stands in the control database with
//! every step, so a process that dies leaves one owner at most, and any other finishes it or takes
//! it back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::TenantId;
use event_store::{Move, MoveId, MoveOptions, Mover, ShardId, Slot, propose_moves, recorded_moves};
use serde::Deserialize;
use serde_json::{Value, json};
use service::extract::Path;
use service::json::JsonBody;
use service::problem::Problem;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Ops;
use super::operator::Operator;
use super::refusal::{of_log, unavailable};
use crate::verbs::shards::{SlotSet, move_as_json};

/// Moves that are listed.
const LISTED: u32 = 200;
const MAX_PAUSE_MS: u64 = 600_000;

/// What goes where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMoves {
    /// `17`, `0-127`, `0-1020/4` (every fourth), with commas between.
    slots: Option<String>,
    /// The slot of this tenant.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
    /// The shard they go to.
    to: i16,
    /// The longest that a slot may take no writes; 2000 where it is left out.
    max_pause_ms: Option<u64>,
}

impl NewMoves {
    fn slots(&self) -> Result<Vec<Slot>, Problem> {
        match (&self.slots, &self.tenant) {
            (Some(slots), None) => {
                let set: SlotSet = slots.parse().map_err(|why| Problem::invalid_body("/slots", why))?;
                Ok(set.0.into_iter().collect())
            }
            (None, Some(tenant)) => Ok(vec![Slot::of(tenant)]),
            _ => Err(Problem::invalid_body("", "name either `slots` or `tenant`")),
        }
    }

    fn options(&self) -> Result<MoveOptions, Problem> {
        let mut options = MoveOptions::default();
        if let Some(ms) = self.max_pause_ms {
            if !(1..=MAX_PAUSE_MS).contains(&ms) {
                let problem = format!("must be 1 to {MAX_PAUSE_MS}");
                return Err(Problem::invalid_body("/max_pause_ms", problem));
            }
            options.max_pause = Duration::from_millis(ms);
        }
        Ok(options)
    }
}

/// The latest moves, and the pause that writers saw.
#[utoipa::path(
    get,
    path = "/ops/v1/moves",
    tag = "Shards",
    responses((status = 200, description = "At most 200, the latest first.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn list_moves(State(ops): State<Ops>, _: Operator) -> Result<Json<Value>, Problem> {
    let moves = read(&ops).await?;
    Ok(Json(moves.iter().map(move_as_json).collect()))
}

/// Move slots to another shard while they take orders.
///
/// Answered at once; `GET /ops/v1/moves` says how it goes on.
#[utoipa::path(
    post,
    path = "/ops/v1/moves",
    tag = "Shards",
    request_body = NewMoves,
    responses(
        (status = 202, description = "The moves, as they are recorded.", body = Value),
        (status = 409, description = "A slot is on its way elsewhere, or has no owner."),
        (status = 422, description = "The body says nothing that can be moved."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn create_moves(
    State(ops): State<Ops>,
    _: Operator,
    body: JsonBody<NewMoves>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let slots = body.value.slots()?;
    let mover = mover(&ops, body.value.options()?).await?;
    let planned = mover
        .plan(&slots, ShardId(body.value.to))
        .await
        .map_err(|error| of_log(&error))?;
    let answer = planned.moves.iter().map(move_as_json).collect();
    go_on(&ops, mover, planned.moves);
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Take a move back that is not decided yet.
///
/// Goes on to its end also where the request is given up.
#[utoipa::path(
    post,
    path = "/ops/v1/moves/{id}/undo",
    tag = "Shards",
    params(("id" = i64, Path, description = "The move.")),
    responses(
        (status = 200, description = "The move, undone.", body = Value),
        (status = 404, description = "There is no such move, or it has ended."),
        (status = 409, description = "It was decided already, or another process is at it."),
    ),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn undo_move(
    State(ops): State<Ops>,
    _: Operator,
    Path(id): Path<i64>,
) -> Result<Json<Value>, Problem> {
    let mover = mover(&ops, MoveOptions::default()).await?;
    let unfinished = mover.unfinished().await.map_err(|error| of_log(&error))?;
    let moving = unfinished
        .into_iter()
        .find(|it| it.id == MoveId(id))
        .ok_or_else(Problem::not_found)?;
    let undone = async move {
        let end = mover.undo(&moving).await.map_err(|error| of_log(&error))?;
        Ok(move_as_json(end.as_move()))
    };
    ops.to_its_end("undoing a move", undone).await.map(Json)
}

/// Moves that would even out the shards' load.
#[utoipa::path(
    get,
    path = "/ops/v1/moves/proposed",
    tag = "Shards",
    responses((status = 200, description = "Each with slot, from and to; none where the shards are even.", body = Value)),
    security(("bearer" = ["ops"])),
)]
pub(crate) async fn get_proposed_moves(State(ops): State<Ops>, _: Operator) -> Result<Json<Value>, Problem> {
    let mover = mover(&ops, MoveOptions::default()).await?;
    let loads = mover.loads().await.map_err(|error| of_log(&error))?;
    let among: Vec<ShardId> = ops
        .databases()
        .await
        .shard_options()
        .iter()
        .map(|shard| shard.id)
        .collect();
    let moves = propose_moves(&loads, &among);
    let moves = moves
        .iter()
        .map(|it| json!({"slot": it.slot.0, "from": it.source.0, "to": it.target.0}));
    Ok(Json(moves.collect()))
}

async fn read(ops: &Ops) -> Result<Vec<Move>, Problem> {
    let databases = ops.databases().await;
    let mut control = PgConnection::connect(databases.control())
        .await
        .map_err(|error| unavailable(&error))?;
    recorded_moves(&mut control, LISTED)
        .await
        .map_err(|error| of_log(&error))
}

async fn mover(ops: &Ops, options: MoveOptions) -> Result<Mover, Problem> {
    let databases = ops.databases().await;
    Mover::new(databases.control(), &databases.shard_options(), options).map_err(|error| of_log(&error))
}

/// One after another, so that each slot's pause is as short as it can be. A stop of this process
/// ends those that have shut nothing yet.
fn go_on(ops: &Ops, mover: Mover, moves: Vec<Move>) {
    let shutdown = ops.shutdown.clone();
    ops.shutdown.spawn("moves", async move {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (told, asked) = (stop.clone(), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = asked.cancelled() => told.cancel(),
                () = told.cancelled() => {}
            }
        });
        for moving in moves {
            if shutdown.is_triggered() {
                break;
            }
            if let Err(error) = mover.run(&moving, &stop).await {
                let (slot, error): (_, &dyn std::error::Error) = (moving.slot.0, &error);
                tracing::error!(slot, error, "a move cannot go on; resume it or take it back");
                break;
            }
        }
        drop(guard);
    });
}

#[cfg(test)]
mod tests {
    use service::problem::code;

    use super::*;

    #[test]
    fn given_neither_or_both_of_slots_and_tenant_then_it_is_refused() {
        let body = |text: &str| serde_json::from_str::<NewMoves>(text).unwrap();
        assert_eq!(body(r#"{"slots": "0-3", "to": 1}"#).slots().unwrap().len(), 4);
        assert_eq!(body(r#"{"tenant": "dev", "to": 1}"#).slots().unwrap().len(), 1);
        for refused in [
            r#"{"to": 1}"#,
            r#"{"slots": "1", "tenant": "dev", "to": 1}"#,
            r#"{"slots": "x", "to": 1}"#,
        ] {
            assert_eq!(
                body(refused).slots().unwrap_err().code(),
                code::INVALID_BODY,
                "{refused}"
            );
        }
        assert!(body(r#"{"slots": "1", "to": 1, "max_pause_ms": 0}"#).options().is_err());
        assert!(serde_json::from_str::<NewMoves>(r#"{"slot": 1, "to": 1}"#).is_err());
    }
}
