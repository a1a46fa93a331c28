//! What generations there are, and how far each is.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::{EventStore, Incarnation, Slot, SlotHead, SlotPosition};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::range::{RangeStatus, Reached, lag, ranges};
use crate::checkpoint::{Checkpoint, slot_of};
use crate::error::Error;

/// Slots whose oldest unread event is looked up, of each generation.
const SAMPLED_SLOTS: usize = 8;

/// One generation of a read model.
#[derive(Debug, Clone, Serialize)]
pub struct GenerationStatus {
    pub read_model: String,
    pub generation: i32,
    pub schema: String,
    /// `filling`, `live`, `scratch`, `retired` or `dropping`.
    pub state: String,
    pub served: bool,
    pub code_version: i32,
    pub created_at: DateTime<Utc>,
    /// Events read.
    pub events: i64,
    /// Events in the log and not read. For a generation as of a position that is what came after it.
    pub lag_events: i64,
    /// The age of the oldest of them; 0 where there is none.
    pub lag_ms: f64,
    pub slots_behind: i64,
    /// Between two readings; `None` where only one was asked for.
    pub events_per_second: Option<f64>,
    pub parked_streams: i64,
    /// The rebuild that filled it; `None` for one that projectors filled.
    pub rebuild: Option<RebuildStatus>,
    /// The same by ranges of slots.
    pub ranges: Vec<RangeStatus>,
}

/// How a generation was or is being filled.
#[derive(Debug, Clone, Serialize)]
pub struct RebuildStatus {
    /// `filling`, `verifying`, `ready`, `differs`, `switched` or `done`.
    pub state: String,
    pub holder: String,
    /// Whether the holder has renewed its lease of late; where not, the rebuild was interrupted and
    /// may be gone on with.
    pub held: bool,
    /// The cursor up to which it reads; `None` for the log's heads.
    pub as_of: Option<String>,
    pub events_done: i64,
    pub events_total: i64,
    pub events_per_second: Option<f64>,
    pub remaining_ms: Option<f64>,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub verified_at: Option<DateTime<Utc>>,
    pub switched_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct GenerationRow {
    read_model: String,
    generation: i32,
    schema_name: String,
    state: String,
    served: bool,
    code_version: i32,
    created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct RebuildRow {
    read_model: String,
    generation: i32,
    state: String,
    holder: String,
    held: bool,
    as_of: Option<String>,
    events_done: i64,
    events_total: i64,
    events_per_second: Option<f64>,
    remaining_ms: Option<f64>,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    verified_at: Option<DateTime<Utc>>,
    switched_at: Option<DateTime<Utc>>,
}

type Key = (String, i32);

/// Every generation of every read model, in order. `sample`: the time between two readings, from
/// which rates are told; without it there is one.
///
/// # Errors
/// Where the read store or a shard does not answer.
pub async fn list(
    store: &EventStore,
    read_store: &PgPool,
    sample: Option<Duration>,
) -> Result<Vec<GenerationStatus>, Error> {
    let before = match sample {
        Some(sample) => {
            let before = (Instant::now(), reached(read_store).await?);
            sleep(sample).await;
            Some(before)
        }
        None => None,
    };
    // In this order: no checkpoint is beyond its head.
    let (now, at) = (reached(read_store).await?, Instant::now());
    let mut heads = HashMap::new();
    for shard in store.shards() {
        let owned = store.heads(shard).await?.into_iter().filter(|head| head.owned);
        heads.extend(owned.map(|head| (head.slot, head)));
    }
    let mut rebuilds = rebuilds(read_store).await?;
    let mut listed = vec![];
    for row in generations(read_store).await? {
        let key = (row.read_model.clone(), row.generation);
        let none = HashMap::new();
        let here = now.get(&key).unwrap_or(&none);
        let rate = before.as_ref().map(|(began, before)| {
            let read = events(here) - before.get(&key).map_or(0, events);
            read.max(0) as f64 / (at - *began).as_secs_f64().max(f64::EPSILON)
        });
        let lag_ms = oldest_ms(store, here, &heads).await?;
        let rebuild = rebuilds.remove(&key);
        listed.push(status(row, here, &heads, (rate, lag_ms), rebuild));
    }
    Ok(listed)
}

fn status(
    row: GenerationRow,
    here: &HashMap<Slot, Reached>,
    heads: &HashMap<Slot, SlotHead>,
    (events_per_second, lag_ms): (Option<f64>, f64),
    rebuild: Option<RebuildStatus>,
) -> GenerationStatus {
    let ranges = ranges(here, heads);
    GenerationStatus {
        read_model: row.read_model,
        generation: row.generation,
        schema: row.schema_name,
        state: row.state,
        served: row.served,
        code_version: row.code_version,
        created_at: row.created_at,
        events: events(here),
        lag_events: ranges.iter().map(|range| range.lag_events).sum(),
        lag_ms,
        slots_behind: ranges.iter().map(|range| range.slots_behind).sum(),
        events_per_second,
        parked_streams: ranges.iter().map(|range| range.parked_streams).sum(),
        rebuild,
        ranges,
    }
}

fn events(reached: &HashMap<Slot, Reached>) -> i64 {
    reached.values().map(|reached| reached.at.slot_position.0).sum()
}

async fn generations(read_store: &PgPool) -> Result<Vec<GenerationRow>, sqlx::Error> {
    sqlx::query_as(
        "SELECT g.read_model, g.generation, g.schema_name, g.state, m.generation IS NOT NULL AS served,
                g.code_version, g.created_at
           FROM meta.generations AS g LEFT JOIN meta.read_models AS m USING (read_model, generation)
          ORDER BY g.read_model, g.generation",
    )
    .fetch_all(read_store)
    .await
}

async fn reached(read_store: &PgPool) -> Result<BTreeMap<Key, HashMap<Slot, Reached>>, sqlx::Error> {
    let rows: Vec<(String, i32, i32, i64, i32, i64)> =
        sqlx::query_as("SELECT read_model, generation, slot, slot_position, incarnation, parked FROM meta.checkpoints")
            .fetch_all(read_store)
            .await?;
    let mut all: BTreeMap<Key, HashMap<Slot, Reached>> = BTreeMap::new();
    for (read_model, generation, slot, slot_position, incarnation, parked) in rows {
        let at = Checkpoint {
            slot_position: SlotPosition(slot_position),
            incarnation: Incarnation(incarnation),
        };
        let of_generation = all.entry((read_model, generation)).or_default();
        of_generation.insert(slot_of(slot)?, Reached { at, parked });
    }
    Ok(all)
}

async fn rebuilds(read_store: &PgPool) -> Result<BTreeMap<Key, RebuildStatus>, sqlx::Error> {
    let rows: Vec<RebuildRow> = sqlx::query_as(
        "SELECT read_model, generation, state, holder,
                lease_until > clock_timestamp() AND state IN ('filling', 'verifying') AS held, as_of, events_done,
                events_total, events_per_second, remaining_ms, started_at, updated_at, verified_at, switched_at
           FROM meta.rebuilds",
    )
    .fetch_all(read_store)
    .await?;
    let status = |row: RebuildRow| {
        let rebuild = RebuildStatus {
            state: row.state,
            holder: row.holder,
            held: row.held,
            as_of: row.as_of,
            events_done: row.events_done,
            events_total: row.events_total,
            events_per_second: row.events_per_second,
            remaining_ms: row.remaining_ms,
            started_at: row.started_at,
            updated_at: row.updated_at,
            verified_at: row.verified_at,
            switched_at: row.switched_at,
        };
        ((row.read_model, row.generation), rebuild)
    };
    Ok(rows.into_iter().map(status).collect())
}

/// The age of the oldest event that is not read, of the slots that are behind the most.
async fn oldest_ms(
    store: &EventStore,
    here: &HashMap<Slot, Reached>,
    heads: &HashMap<Slot, SlotHead>,
) -> Result<f64, Error> {
    let mut behind: Vec<(i64, Slot, SlotPosition)> = here
        .iter()
        .filter_map(|(slot, reached)| Some((lag(reached, heads.get(slot)?), *slot, reached.at.slot_position)))
        .filter(|(lag, ..)| *lag > 0)
        .collect();
    behind.sort_by_key(|(lag, slot, _)| (std::cmp::Reverse(*lag), *slot));
    let mut oldest: f64 = 0.0;
    for (_, slot, at) in behind.into_iter().take(SAMPLED_SLOTS) {
        let next = store.read_slot(slot, at, 1).await?;
        oldest = next
            .first()
            .map_or(oldest, |event| oldest.max(crate::lag::age_ms(event.recorded_at)));
    }
    Ok(oldest)
}
