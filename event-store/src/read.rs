//! Reading the log by slot and by tenant, a page at a time.
//!
//! Every statement here looks at a bounded number of rows: a long snapshot on a shard would keep
//! the dead versions of its head row alive and slow every append.

pub(crate) mod filter;
pub(crate) mod scan;

use chrono::{DateTime, Utc};
use domain::{EstablishmentId, EventType, OrderId, StreamId, TenantId, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::error::Error;
use crate::ids::{Incarnation, Ownership, ShardId, Slot, SlotPosition};
use crate::record::{COLUMNS, RecordedEvent, from_row};
use crate::shard::Shard;
use crate::store::EventStore;
use crate::token::PositionToken;

/// Rows looked at by one statement.
const SCAN: i64 = 2_000;
/// Statements per page: a page of a tenant that shares its slot with a busy one may end early.
const SCANS_PER_PAGE: usize = 25;

/// Where a slot stands on a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotHead {
    pub slot: Slot,
    pub slot_position: SlotPosition,
    pub incarnation: Incarnation,
    pub ownership: Ownership,
    /// False for a slot that moved away.
    pub owned: bool,
}

impl SlotHead {
    /// From `slot, slot_position, incarnation, ownership, owned`.
    pub(crate) fn from_rows(rows: Vec<(i16, i64, i32, i64, bool)>) -> Vec<Self> {
        let head = |(slot, slot_position, incarnation, ownership, owned)| {
            Some(Self {
                slot: Slot::from_i16(slot)?,
                slot_position: SlotPosition(slot_position),
                incarnation: Incarnation(incarnation),
                ownership: Ownership(ownership),
                owned,
            })
        };
        rows.into_iter().filter_map(head).collect()
    }
}

/// Which of a tenant's events to return. The default is all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Any of these types; all where empty.
    pub types: Vec<EventType>,
    pub establishment: Option<EstablishmentId>,
    pub order: Option<OrderId>,
    /// Recorded at or after.
    pub from: Option<Timestamp>,
    /// Recorded before.
    pub to: Option<Timestamp>,
}

/// A page of a tenant's events.
#[derive(Debug, Clone)]
pub struct EventPage {
    pub events: Vec<RecordedEvent>,
    /// Where to go on from. May lie beyond the last event: what was passed over matched nothing.
    pub next: SlotPosition,
    /// Whether the end of the log was reached; if not, an empty page is not the last.
    pub at_end: bool,
}

impl EventStore {
    /// The next events of a slot after `after`, at most `limit` (and at most 2,000), in order.
    /// Copies made by a move are the slot's history and included.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read_slot(&self, slot: Slot, after: SlotPosition, limit: usize) -> Result<Vec<RecordedEvent>, Error> {
        let mut shard = self.owner(slot).await?;
        for _ in 0..2 {
            if let Some(rows) = slot_rows(&shard, slot, after, page(limit)).await? {
                return rows.iter().map(from_row).collect();
            }
            shard = self.owner_after_refresh(slot).await?;
        }
        Err(Error::NotOwned { slot })
    }

    /// The next of a tenant's events after `after` that match, at most `limit`, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read_tenant(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        after: SlotPosition,
        limit: usize,
    ) -> Result<EventPage, Error> {
        let slot = Slot::of(tenant);
        let head = self.head_of(tenant).await?.slot_position;
        let mut shard = self.owner(slot).await?;
        let scope = Scope { slot, tenant, filter };
        let mut page = EventPage {
            events: Vec::new(),
            next: after,
            at_end: after >= head,
        };
        for _ in 0..SCANS_PER_PAGE {
            let wanted = limit.saturating_sub(page.events.len());
            if page.at_end || wanted == 0 {
                break;
            }
            // One order's stream is found by key; everything else by walking the slot.
            let until = if filter.order.is_some() {
                head
            } else {
                head.min(SlotPosition(page.next.0 + SCAN))
            };
            let Some(rows) = scope.scan(&shard, page.next, until, wanted).await? else {
                shard = self.owner_after_refresh(slot).await?;
                continue;
            };
            let full = rows.len() >= wanted;
            for row in &rows {
                page.events.push(from_row(row)?);
            }
            page.next = match page.events.last() {
                Some(last) if full => last.slot_position,
                _ => until,
            };
            page.at_end = page.next >= head;
        }
        Ok(page)
    }

    /// Where each slot of a shard stands, those that moved away included.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn heads(&self, shard: ShardId) -> Result<Vec<SlotHead>, Error> {
        let rows = sqlx::query_as("SELECT slot, slot_position, incarnation, ownership, owned FROM slots ORDER BY slot")
            .fetch_all(&self.shard(shard)?.pool)
            .await
            .map_err(Error::read)?;
        Ok(SlotHead::from_rows(rows))
    }

    /// Where the log of a tenant's slot stands: a read that has passed it has seen all of the
    /// tenant's events.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn head_of(&self, tenant: &TenantId) -> Result<PositionToken, Error> {
        let slot = Slot::of(tenant);
        let mut shard = self.owner(slot).await?;
        for _ in 0..2 {
            let head: Option<(i64, i32)> =
                sqlx::query_as("SELECT slot_position, incarnation FROM slots WHERE slot = $1 AND owned")
                    .bind(slot.as_i16())
                    .fetch_optional(&shard.pool)
                    .await
                    .map_err(Error::read)?;
            if let Some((position, incarnation)) = head {
                let (slot_position, incarnation) = (SlotPosition(position), Incarnation(incarnation));
                return Ok(PositionToken {
                    slot,
                    incarnation,
                    slot_position,
                });
            }
            shard = self.owner_after_refresh(slot).await?;
        }
        Err(Error::NotOwned { slot })
    }
}

/// Rows of a slot that the shard owns; `None` where it does not own it. Both as of one moment: asked one
/// after the other, a slot that is shut in between and open again would seem to end where it does not.
fn of_owner(rows: Vec<PgRow>) -> Result<Option<Vec<PgRow>>, sqlx::Error> {
    match rows.first().map(|row| row.try_get::<Option<i64>, _>("position")) {
        None => Ok(None),
        // The row of the slot alone.
        Some(Ok(None)) => Ok(Some(Vec::new())),
        Some(Ok(Some(_))) => Ok(Some(rows)),
        Some(Err(error)) => Err(error),
    }
}

async fn slot_rows(shard: &Shard, slot: Slot, after: SlotPosition, limit: i64) -> Result<Option<Vec<PgRow>>, Error> {
    let rows = sqlx::query(&format!(
        "SELECT found.* FROM slots s LEFT JOIN LATERAL ( \
             SELECT {COLUMNS} FROM events e \
              WHERE e.slot = s.slot AND e.slot_position > $2 ORDER BY e.slot_position LIMIT $3) found ON true \
         WHERE s.slot = $1 AND s.owned ORDER BY found.slot_position"
    ))
    .bind(slot.as_i16())
    .bind(after.0)
    .bind(limit)
    .fetch_all(&shard.pool)
    .await;
    rows.and_then(of_owner).map_err(Error::read)
}

fn page(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(SCAN).clamp(1, SCAN)
}

struct Scope<'a> {
    slot: Slot,
    tenant: &'a TenantId,
    filter: &'a EventFilter,
}

impl Scope<'_> {
    /// What matches in (after, until]; `None` where the shard does not own the slot. `text` casts keep a
    /// NULL parameter's type known.
    async fn scan(
        &self,
        shard: &Shard,
        after: SlotPosition,
        until: SlotPosition,
        limit: usize,
    ) -> Result<Option<Vec<PgRow>>, Error> {
        let filter = self.filter;
        let order = filter.order.map(|order| StreamId::order(self.tenant, order));
        let by_stream = if order.is_some() {
            "AND e.aggregate_type = 'order' AND e.aggregate_id = $9"
        } else {
            ""
        };
        let sql = format!(
            "SELECT found.* FROM slots s LEFT JOIN LATERAL ( \
             SELECT {COLUMNS} FROM events e \
              WHERE e.slot = s.slot AND e.slot_position > $2 AND e.slot_position <= $3 AND e.tenant_id = $4 \
                AND ($5::text[] IS NULL OR e.event_type = ANY ($5)) \
                AND ($6::text IS NULL OR e.metadata ->> 'establishment_id' = $6) \
                AND ($7::timestamptz IS NULL OR e.recorded_at >= $7) \
                AND ($8::timestamptz IS NULL OR e.recorded_at < $8) {by_stream} \
              ORDER BY e.slot_position LIMIT $10) found ON true \
             WHERE s.slot = $1 AND s.owned ORDER BY found.slot_position"
        );
        let types: Vec<&str> = filter.types.iter().map(|kind| kind.as_str()).collect();
        let time = |time: Timestamp| -> DateTime<Utc> { time.as_datetime() };
        let (establishment, stream) = (filter.establishment.as_ref(), order.as_ref());
        let rows = sqlx::query(&sql)
            .bind(self.slot.as_i16())
            .bind(after.0)
            .bind(until.0)
            .bind(self.tenant.as_str())
            .bind((!types.is_empty()).then_some(types))
            .bind(establishment.map(EstablishmentId::as_str))
            .bind(filter.from.map(time))
            .bind(filter.to.map(time))
            .bind(stream.map(StreamId::aggregate_id))
            .bind(page(limit))
            .fetch_all(&shard.pool)
            .await;
        rows.and_then(of_owner).map_err(Error::read)
    }
}
