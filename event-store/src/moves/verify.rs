//! Comparing what two shards hold of a slot, range by range, so that no statement holds a snapshot for
//! long and what was compared before the fence need not be compared behind it.

use sqlx::PgPool;

use crate::error::Error;
use crate::ids::{Slot, SlotPosition};

/// Positions compared with one statement.
const RANGE: i64 = 2_000;

/// Everything that was given to the log: what it assigned, and payload and metadata to the byte. Only
/// `position` and `copied` are the shard's own.
const EVENTS: &str = "
    SELECT count(*),
           coalesce(encode(sha256(string_agg(sha256(convert_to(ROW(
               slot_position, event_id, aggregate_type, aggregate_id, sequence, tenant_id, event_type, event_version,
               (extract(epoch FROM recorded_at) * 1000000)::bigint, payload::text, metadata::text)::text, 'UTF8')),
               ''::bytea ORDER BY slot_position)), 'hex'), '')
      FROM events WHERE slot = $1 AND slot_position > $2 AND slot_position <= $3";

const ORDER_NUMBERS: &str = "
    SELECT count(*),
           coalesce(encode(sha256(convert_to(string_agg(
               ROW(tenant_id, establishment_id, business_date - DATE '2000-01-01', last_number)::text, ','
               ORDER BY tenant_id, establishment_id, business_date), 'UTF8')), 'hex'), '')
      FROM order_numbers WHERE slot = $1";

/// How many there are, and their hash.
type Fingerprint = (i64, String);

/// Makes sure that both shards hold every event of the slot in (after, upto], and the same.
pub(super) async fn compare_events(
    source: &PgPool,
    target: &PgPool,
    slot: Slot,
    after: SlotPosition,
    upto: SlotPosition,
) -> Result<(), Error> {
    let mut from = after.0;
    while from < upto.0 {
        let until = upto.0.min(from + RANGE);
        let (here, there) = tokio::try_join!(events(source, slot, from, until), events(target, slot, from, until))?;
        // Positions are unique and in the range, so as many as it is long are all of them.
        if here != there || here.0 != until - from {
            return Err(differs(slot, &format!("events {} to {until}", from + 1), &here, &there));
        }
        from = until;
    }
    Ok(())
}

pub(super) async fn compare_order_numbers(source: &PgPool, target: &PgPool, slot: Slot) -> Result<(), Error> {
    let (here, there) = tokio::try_join!(order_numbers(source, slot), order_numbers(target, slot))?;
    if here == there {
        return Ok(());
    }
    Err(differs(slot, "the order numbers", &here, &there))
}

async fn order_numbers(shard: &PgPool, slot: Slot) -> Result<Fingerprint, Error> {
    sqlx::query_as(ORDER_NUMBERS)
        .bind(slot.as_i16())
        .fetch_one(shard)
        .await
        .map_err(Error::read)
}

async fn events(shard: &PgPool, slot: Slot, after: i64, upto: i64) -> Result<Fingerprint, Error> {
    sqlx::query_as(EVENTS)
        .bind(slot.as_i16())
        .bind(after)
        .bind(upto)
        .fetch_one(shard)
        .await
        .map_err(Error::read)
}

fn differs(slot: Slot, what: &str, here: &Fingerprint, there: &Fingerprint) -> Error {
    let (here, there) = (here.0, there.0);
    Error::NotMoved {
        slot,
        reason: format!(
            "{what} differ between its shards ({here} at the source, {there} at the target): take the move back with \
             --undo if it is not undone, move it to another shard, and keep both for whoever looks into it"
        ),
    }
}
