//! The shard that a slot goes to.

use sqlx::PgPool;

use super::record::Move;
use super::source::{Branch, Counter, Standing, Stored};
use crate::error::Error;
use crate::ids::{Ownership, Slot, SlotPosition};

const DIVERGED: &str = "CM023";
const SUPERSEDED: &str = "CM020";

/// Stores events behind those that are there. Returns how far the slot reaches then.
pub(super) async fn receive(
    shard: &PgPool,
    slot: Slot,
    ownership: Ownership,
    page: &[Stored],
) -> Result<SlotPosition, Error> {
    fn column<'a, T>(page: &'a [Stored], value: impl Fn(&'a Stored) -> T) -> Vec<T> {
        page.iter().map(value).collect()
    }
    sqlx::query_scalar("SELECT receive_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)")
        .bind(slot.as_i16())
        .bind(ownership.0)
        .bind(column(page, |event| event.slot_position))
        .bind(column(page, |event| event.aggregate_type.as_str()))
        .bind(column(page, |event| event.aggregate_id.as_str()))
        .bind(column(page, |event| event.sequence))
        .bind(column(page, |event| event.tenant_id.as_str()))
        .bind(column(page, |event| event.event_id))
        .bind(column(page, |event| event.event_type.as_str()))
        .bind(column(page, |event| event.event_version.as_str()))
        .bind(column(page, |event| event.payload.as_str()))
        .bind(column(page, |event| event.metadata.as_str()))
        .bind(column(page, |event| event.recorded_at))
        .fetch_one(shard)
        .await
        .map(SlotPosition)
        .map_err(|error| refused(slot, error))
}

pub(super) async fn receive_numbers(shard: &PgPool, slot: Slot, numbers: &[(Counter, i64)]) -> Result<(), Error> {
    if numbers.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&Counter) -> &str| -> Vec<&str> { numbers.iter().map(|(it, _)| value(it)).collect() };
    sqlx::query("SELECT receive_order_numbers($1, $2, $3, $4, $5)")
        .bind(slot.as_i16())
        .bind(column(|counter| &counter.0))
        .bind(column(|counter| &counter.1))
        .bind(numbers.iter().map(|(counter, _)| counter.2).collect::<Vec<_>>())
        .bind(numbers.iter().map(|(_, number)| *number).collect::<Vec<_>>())
        .execute(shard)
        .await
        .map(drop)
        .map_err(|error| refused(slot, error))
}

/// Takes appends from here on; nothing where that is so already.
pub(super) async fn open(shard: &PgPool, moving: &Move, from: &Standing, branches: &[Branch]) -> Result<(), Error> {
    sqlx::query("SELECT open_slot($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .bind(moving.slot.as_i16())
        .bind(moving.id.0)
        .bind(from.ownership + 1)
        .bind(from.slot_position)
        .bind(from.incarnation)
        .bind(from.recorded_at)
        .bind(branches.iter().map(|branch| branch.0).collect::<Vec<_>>())
        .bind(branches.iter().map(|branch| branch.1).collect::<Vec<_>>())
        .bind(branches.iter().map(|branch| branch.2.as_str()).collect::<Vec<_>>())
        .bind(branches.iter().map(|branch| branch.3).collect::<Vec<_>>())
        .execute(shard)
        .await
        .map(drop)
        .map_err(|error| refused(moving.slot, error))
}

/// Events that the target had from before, and the slot has not, cannot be removed.
fn refused(slot: Slot, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.as_deref() == Some(DIVERGED) {
        let reason = "the target has other events of it, from before a restoration: take the move back with --undo if \
                      it is not undone, and move it to another shard";
        return Error::NotMoved {
            slot,
            reason: reason.to_owned(),
        };
    }
    if code.as_deref() == Some(SUPERSEDED) {
        let reason = "a later move had it at the target meanwhile: see `comanda shards moves`";
        return Error::NotMoved {
            slot,
            reason: reason.to_owned(),
        };
    }
    Error::unavailable("the slot's new shard does not take it", error)
}
