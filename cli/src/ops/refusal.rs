//! What went wrong, as operators' clients see it.

use std::error::Error;

use axum::http::StatusCode;
use service::problem::Problem;

/// Codes that only these routes answer with. Their meaning stands in `docs/errors.md`.
pub(super) const NOT_MOVED: &str = "not_moved";
pub(super) const UNKNOWN_SHARD: &str = "unknown_shard";
pub(super) const UNKNOWN_READ_MODEL: &str = "unknown_read_model";
pub(super) const UNKNOWN_READ_STORE: &str = "unknown_read_store";
pub(super) const GENERATION_NOT_FOUND: &str = "generation_not_found";
pub(super) const NOT_SWITCHED: &str = "not_switched";
pub(super) const REBUILD_RUNNING: &str = "rebuild_running";
pub(super) const GENERATION_IN_USE: &str = "generation_in_use";
pub(super) const VERIFICATION_RUNNING: &str = "verification_running";

/// The log, or the control database, refused.
pub(super) fn of_log(error: &event_store::Error) -> Problem {
    use event_store::Error as Log;
    match error {
        Log::NotMoved { slot, reason } => Problem::new(
            StatusCode::CONFLICT,
            NOT_MOVED,
            format!("Slot {slot} was not moved: {reason}."),
        )
        .with("slot", slot.0),
        Log::UnknownShard(shard) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            UNKNOWN_SHARD,
            format!("There is no shard {shard}; add it first."),
        ),
        Log::Overloaded { .. } => Problem::overloaded(),
        Log::Unavailable { .. } | Log::NotOwned { .. } => unavailable(error),
        Log::Conflict { .. }
        | Log::Rejected { .. }
        | Log::Undecodable { .. }
        | Log::UnknownStream { .. }
        | Log::NotAStream { .. }
        | Log::Misconfigured(_) => internal(error),
    }
}

/// A read model or its generations refused.
pub(super) fn of_projections(error: &projector::Error) -> Problem {
    use projector::Error as Projections;
    let conflict = |code| Problem::new(StatusCode::CONFLICT, code, sentence(error));
    match error {
        Projections::UnknownReadModel { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, UNKNOWN_READ_MODEL, sentence(error))
        }
        Projections::NoGeneration { .. } => Problem::new(StatusCode::NOT_FOUND, GENERATION_NOT_FOUND, sentence(error)),
        Projections::RebuildRunning { .. } => conflict(REBUILD_RUNNING),
        Projections::Served { .. } | Projections::InUse { .. } | Projections::StandbysBehind { .. } => {
            conflict(GENERATION_IN_USE)
        }
        Projections::OtherCodeVersion { .. }
        | Projections::NotServed(_)
        | Projections::Behind { .. }
        | Projections::NotSwitchable { .. }
        | Projections::NothingToSwitchTo(_)
        | Projections::NothingToRollBackTo(_)
        | Projections::Restored { .. } => conflict(NOT_SWITCHED),
        Projections::Log(error) => of_log(error),
        Projections::Verify(error) => of_verification(error),
        Projections::Database(_)
        | Projections::Kafka(_)
        | Projections::Published(_)
        | Projections::ShardTimedOut(_)
        | Projections::TimedOut { .. } => unavailable(error),
        Projections::LeaseLost
        | Projections::Stopped { .. }
        | Projections::Cursor(_)
        | Projections::NotInLog(_)
        | Projections::SchemaName { .. }
        | Projections::NoCheckpoint { .. } => internal(error),
    }
}

/// What was to be verified is not there, or cannot be read.
pub(super) fn of_verification(error: &verify::Error) -> Problem {
    use verify::Error as Verification;
    match error {
        Verification::UnknownReadModel { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, UNKNOWN_READ_MODEL, sentence(error))
        }
        Verification::UnknownGeneration { .. } | Verification::NotServed { .. } => {
            Problem::new(StatusCode::NOT_FOUND, GENERATION_NOT_FOUND, sentence(error))
        }
        Verification::Log(error) => of_log(error),
        Verification::ReadStore(_) | Verification::Cancelled { .. } => unavailable(error),
        Verification::SchemaName { .. } | Verification::NewerEvent { .. } | Verification::Worker(_) => internal(error),
    }
}

/// An error's own words, as `detail` has them.
fn sentence(error: &dyn Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|first| first.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// A part is away.
pub(super) fn unavailable(error: &(dyn Error + 'static)) -> Problem {
    tracing::warn!(error, "an operator's request needs a part that is away");
    Problem::unavailable()
}

pub(super) fn internal(error: &(dyn Error + 'static)) -> Problem {
    tracing::error!(error, "an operator's request failed");
    Problem::internal()
}
