//! One read model's part of a slot, in one snapshot with others': checkpoint, parked streams, rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::{Sequence, StreamId, TenantId};
use event_store::{Incarnation, Slot, SlotPosition};
use futures::TryStreamExt;
use sqlx::PgConnection;

use crate::digest;
use crate::error::Error;
use crate::matcher::Matcher;
use crate::models::{Fold, Model};
use crate::report::Fingerprint;
use crate::target::Target;

/// How far the read model has read the slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    pub(crate) slot_position: SlotPosition,
    pub(crate) incarnation: Incarnation,
    /// How many streams it says are parked.
    pub(crate) parked: i64,
}

/// A stream that stands still.
#[derive(Debug, Clone)]
pub(crate) struct ParkedStream {
    /// The first event that was not applied.
    pub(crate) first: Sequence,
    /// Its events were given up: they wait no longer.
    pub(crate) dropped: bool,
    pub(crate) slot: i32,
}

/// What is read of a slot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// How many streams are parked under the slot's number.
    pub(crate) parked_in_slot: i64,
    /// By aggregate type and id.
    pub(crate) parked: HashMap<(String, String), ParkedStream>,
    pub(crate) fingerprints: BTreeMap<TenantId, Fingerprint>,
    pub(crate) rows: u64,
}

impl Snapshot {
    pub(crate) fn parked(&self, stream: &StreamId) -> Option<&ParkedStream> {
        if self.parked.is_empty() {
            return None;
        }
        let key = (stream.kind().as_str().to_owned(), stream.aggregate_id().to_owned());
        self.parked.get(&key)
    }
}

/// Reads the slot's part into the matcher. The caller's transaction makes it one snapshot.
pub(crate) async fn read(
    connection: &mut PgConnection,
    (target, model): (&Target, &'static Model),
    slot: Slot,
    tenants: &BTreeSet<TenantId>,
    fold: &mut dyn Fold,
    rows: &mut Matcher,
) -> Result<Snapshot, Error> {
    let checkpoint = checkpoint(connection, target, slot).await?;
    let mut snapshot = Snapshot {
        checkpoint,
        parked_in_slot: parked_in_slot(connection, target, slot).await?,
        parked: parked_streams(connection, target, tenants).await?,
        fingerprints: BTreeMap::new(),
        rows: 0,
    };
    let at = checkpoint.map_or(SlotPosition(0), |checkpoint| checkpoint.slot_position);
    for (index, table) in model.tables.iter().enumerate() {
        let sql = table.select(&target.quoted_schema()?, model.name, target.generation);
        for tenant in tenants {
            let mut found = sqlx::query(&sql).bind(tenant.as_str()).fetch(&mut *connection);
            while let Some(row) = found.try_next().await? {
                let row = table.read(index, tenant.as_str(), &row)?;
                let (key, digest) = (row.row_key(), row.digest(table));
                rows.found(key, digest, &row);
                if rows.describes() {
                    fold.saw(&row);
                }
                snapshot.rows += 1;
                let fingerprint = snapshot.fingerprints.entry(tenant.clone());
                fingerprint
                    .or_insert(Fingerprint::at(at))
                    .add(digest::whole(key, digest));
            }
        }
    }
    Ok(snapshot)
}

async fn checkpoint(connection: &mut PgConnection, target: &Target, slot: Slot) -> Result<Option<Checkpoint>, Error> {
    let row: Option<(i64, i32, i64)> = sqlx::query_as(
        "SELECT slot_position, incarnation, parked FROM meta.checkpoints
          WHERE read_model = $1 AND generation = $2 AND slot = $3",
    )
    .bind(&target.read_model)
    .bind(target.generation)
    .bind(i32::from(slot.0))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(slot_position, incarnation, parked)| Checkpoint {
        slot_position: SlotPosition(slot_position),
        incarnation: Incarnation(incarnation),
        parked,
    }))
}

async fn parked_in_slot(connection: &mut PgConnection, target: &Target, slot: Slot) -> Result<i64, Error> {
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM meta.parked_streams WHERE read_model = $1 AND generation = $2 AND slot = $3",
    )
    .bind(&target.read_model)
    .bind(target.generation)
    .bind(i32::from(slot.0))
    .fetch_one(connection)
    .await?;
    Ok(count)
}

type ParkedRow = (String, String, i64, bool, i32);

async fn parked_streams(
    connection: &mut PgConnection,
    target: &Target,
    tenants: &BTreeSet<TenantId>,
) -> Result<HashMap<(String, String), ParkedStream>, Error> {
    let tenants: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let rows: Vec<ParkedRow> = sqlx::query_as(
        "SELECT aggregate_type, aggregate_id, first_sequence, dropped_at IS NOT NULL, slot FROM meta.parked_streams
          WHERE read_model = $1 AND generation = $2 AND tenant_id = ANY ($3)",
    )
    .bind(&target.read_model)
    .bind(target.generation)
    .bind(&tenants)
    .fetch_all(connection)
    .await?;
    let parked = |(kind, id, first, dropped, slot)| {
        let first = Sequence(first);
        ((kind, id), ParkedStream { first, dropped, slot })
    };
    Ok(rows.into_iter().map(parked).collect())
}
