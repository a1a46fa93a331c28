//! The shard that a slot leaves.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::record::MoveId;
use crate::error::Error;
use crate::ids::{Slot, SlotPosition};

/// Events copied with one statement: few, because the target takes no appends meanwhile.
pub(super) const PAGE: i64 = 250;
/// Bytes of events copied with one statement; a single event may exceed it.
const PAGE_BYTES: i64 = 4 << 20;

/// A slot's head on a shard.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Standing {
    pub(super) slot_position: i64,
    pub(super) incarnation: i32,
    pub(super) ownership: i64,
    pub(super) owned: bool,
    pub(super) fenced: bool,
    #[sqlx(rename = "move")]
    pub(super) moved: i64,
    pub(super) recorded_at: DateTime<Utc>,
}

impl Standing {
    /// Whether the move may go on from here: nothing shut the slot, or this very move did.
    pub(super) fn is_for(&self, id: MoveId) -> bool {
        (self.owned && self.moved < id.0) || (self.fenced && self.moved == id.0)
    }

    /// Whether the slot was opened at the other shard after it was here.
    pub(super) fn outranked_by(&self, there: Option<&Self>) -> bool {
        there.is_some_and(|there| there.ownership > self.ownership)
    }
}

pub(super) async fn standing(shard: &PgPool, slot: Slot) -> Result<Option<Standing>, Error> {
    sqlx::query_as(
        // A slot without events has an infinite time that no client can hold.
        "SELECT slot_position, incarnation, ownership, owned, fenced, move, \
                greatest(recorded_at, 'epoch'::timestamptz) AS recorded_at \
           FROM slots WHERE slot = $1",
    )
    .bind(slot.as_i16())
    .fetch_optional(shard)
    .await
    .map_err(Error::read)
}

/// Some of a slot's events, as they are stored.
#[derive(Debug, FromRow)]
pub(super) struct Stored {
    pub(super) slot_position: i64,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) tenant_id: String,
    pub(super) event_id: Uuid,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) recorded_at: DateTime<Utc>,
}

/// The next events behind `after`; none where there are no more.
pub(super) async fn page(shard: &PgPool, slot: Slot, after: SlotPosition) -> Result<Vec<Stored>, Error> {
    sqlx::query_as(
        "SELECT slot_position, aggregate_type, aggregate_id, sequence, tenant_id, event_id, event_type, event_version, \
                payload, metadata, recorded_at \
           FROM (SELECT e.*, sum(octet_length(e.payload) + octet_length(e.metadata)) OVER (ORDER BY e.slot_position) AS bytes \
                   FROM (SELECT slot_position, aggregate_type, aggregate_id, sequence, tenant_id, event_id, event_type, \
                                event_version, payload::text, metadata::text, recorded_at \
                           FROM events WHERE slot = $1 AND slot_position > $2 ORDER BY slot_position LIMIT $3) e) p \
          WHERE bytes <= $4 OR slot_position = $2 + 1 ORDER BY slot_position",
    )
    .bind(slot.as_i16())
    .bind(after.0)
    .bind(PAGE)
    .bind(PAGE_BYTES)
    .fetch_all(shard)
    .await
    .map_err(Error::read)
}

/// A counter of order numbers: tenant, establishment, business day.
pub(super) type Counter = (String, String, NaiveDate);

pub(super) async fn order_numbers(shard: &PgPool, slot: Slot) -> Result<Vec<(Counter, i64)>, Error> {
    let rows: Vec<(String, String, NaiveDate, i64)> = sqlx::query_as(
        "SELECT tenant_id, establishment_id, business_date, last_number FROM order_numbers WHERE slot = $1",
    )
    .bind(slot.as_i16())
    .fetch_all(shard)
    .await
    .map_err(Error::read)?;
    let counter = |(tenant, establishment, date, number)| ((tenant, establishment, date), number);
    Ok(rows.into_iter().map(counter).collect())
}

/// Where an incarnation of the slot began: number, position, reason, time.
pub(super) type Branch = (i32, i64, String, DateTime<Utc>);

pub(super) async fn branches(shard: &PgPool, slot: Slot) -> Result<Vec<Branch>, Error> {
    sqlx::query_as(
        "SELECT incarnation, began_behind, reason, began_at FROM incarnations WHERE slot = $1 ORDER BY incarnation",
    )
    .bind(slot.as_i16())
    .fetch_all(shard)
    .await
    .map_err(Error::read)
}

/// The last position that this shard's relay has to publish of the slot; 0 for none. A last event that
/// was copied here was published elsewhere, and so was all before it.
pub(super) async fn last_to_publish(shard: &PgPool, slot: Slot) -> Result<i64, Error> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT CASE WHEN copied THEN 0 ELSE position END \
                            FROM events WHERE slot = $1 ORDER BY slot_position DESC LIMIT 1), 0)",
    )
    .bind(slot.as_i16())
    .fetch_one(shard)
    .await
    .map_err(Error::read)
}

/// No append from here on, unless the slot was promoted or restored since it stood as `before`. Returns
/// where it ends.
pub(super) async fn fence(shard: &PgPool, slot: Slot, id: MoveId, before: &Standing) -> Result<SlotPosition, Error> {
    sqlx::query_scalar("SELECT fence_slot($1, $2, $3, $4)")
        .bind(slot.as_i16())
        .bind(id.0)
        .bind(before.ownership)
        .bind(before.incarnation)
        .fetch_one(shard)
        .await
        .map(SlotPosition)
        .map_err(|error| Error::unavailable("the slot could not be shut at its shard", error))
}

/// Appends are taken again.
pub(super) async fn unfence(shard: &PgPool, slot: Slot, id: MoveId) -> Result<(), Error> {
    call(shard, "SELECT unfence_slot($1, $2)", slot, id).await
}

/// What is left is a copy.
pub(super) async fn release(shard: &PgPool, slot: Slot, id: MoveId) -> Result<(), Error> {
    call(shard, "SELECT release_slot($1, $2)", slot, id).await
}

async fn call(shard: &PgPool, sql: &str, slot: Slot, id: MoveId) -> Result<(), Error> {
    sqlx::query(sql)
        .bind(slot.as_i16())
        .bind(id.0)
        .execute(shard)
        .await
        .map(drop)
        .map_err(|error| Error::unavailable("the slot's shard cannot be reached", error))
}
