//! Whether a generation's rows are those of the served one, byte for byte.
//!
//! In one snapshot, what stands at equal checkpoints has to be equal: read models are functions of
//! the log. Equal in incarnation too: after a restoration other events stand at the same positions.
//! So of every slot that both generations have read equally far, with nothing parked, the rows of each
//! tenant are hashed in both. Slots that one of them is ahead in are looked at again, in another
//! snapshot; projectors move both at once, so that is rare.
//!
//! The hash of a tenant's table is the sum of the rows' hashes, so no order has to be made up. A
//! snapshot lasts as long as reading both generations once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event_store::Slot;
use sqlx::{PgConnection, PgPool};
use tokio::time::sleep;

use crate::checkpoint::slot_of;
use crate::error::Error;
use crate::generation::Generation;
use crate::projection::Schema;

/// Snapshots looked at, at most. What was never equally far in any is not compared.
const SNAPSHOTS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A tenant of which both generations hold something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Differing {
    pub tenant: String,
    pub table: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Compared {
    pub(super) tenants: u64,
    pub(super) fingerprint: Option<String>,
    pub(super) differing: Vec<Differing>,
}

/// Rows and the sum of their hashes, of one tenant's rows in one table.
type Digests = BTreeMap<(String, String), (i64, String)>;

/// Compares with the served generation of the same code version, where there is one.
pub(super) async fn compare(read_store: &PgPool, generation: &Generation) -> Result<Compared, Error> {
    let Some((number, schema)) = served(read_store, generation).await? else {
        return Ok(Compared::default());
    };
    let mut left: BTreeSet<Slot> = Slot::all().collect();
    let (mut known, mut differing) = (Digests::new(), vec![]);
    for snapshot in 0..SNAPSHOTS {
        if snapshot > 0 {
            sleep(LOOK_AGAIN).await;
        }
        let mut transaction = read_store
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .await?;
        let equal = equally_far(&mut transaction, generation, number).await?;
        let slots: BTreeSet<Slot> = left.intersection(&equal).copied().collect();
        if !slots.is_empty() {
            let here = digests(&mut transaction, &generation.schema, &slots).await?;
            let there = digests(&mut transaction, &schema, &slots).await?;
            differing.extend(differences(&here, &there));
            known.extend(here);
        }
        transaction.commit().await?;
        left.retain(|slot| !slots.contains(slot));
        if left.is_empty() {
            break;
        }
    }
    differing.sort();
    let tenants: BTreeSet<&String> = known.keys().map(|(tenant, _)| tenant).collect();
    Ok(Compared {
        tenants: tenants.len() as u64,
        fingerprint: Some(fingerprint(&known)),
        differing,
    })
}

async fn served(read_store: &PgPool, generation: &Generation) -> Result<Option<(i32, Schema)>, Error> {
    let row: Option<(i32, String)> = sqlx::query_as(
        "SELECT s.generation, s.schema_name
           FROM meta.read_models AS m
           JOIN meta.generations AS s USING (read_model, generation)
           JOIN meta.generations AS n ON n.read_model = s.read_model AND n.code_version = s.code_version
          WHERE n.read_model = $1 AND n.generation = $2 AND s.generation <> $2",
    )
    .bind(generation.read_model)
    .bind(generation.number)
    .fetch_optional(read_store)
    .await?;
    match row {
        Some((number, schema_name)) => {
            let schema = Schema::new(&schema_name).ok_or(Error::SchemaName { schema_name })?;
            Ok(Some((number, schema)))
        }
        None => Ok(None),
    }
}

/// The slots that both have read equally far, with nothing parked.
async fn equally_far(
    connection: &mut PgConnection,
    generation: &Generation,
    other: i32,
) -> Result<BTreeSet<Slot>, sqlx::Error> {
    let slots: Vec<i32> = sqlx::query_scalar(
        "SELECT slot FROM meta.checkpoints AS a JOIN meta.checkpoints AS b
          USING (read_model, slot, slot_position, incarnation)
          WHERE a.read_model = $1 AND a.generation = $2 AND b.generation = $3 AND a.parked = 0 AND b.parked = 0",
    )
    .bind(generation.read_model)
    .bind(generation.number)
    .bind(other)
    .fetch_all(connection)
    .await?;
    slots.into_iter().map(slot_of).collect()
}

/// Of every tenant of these slots, and every table of the schema.
async fn digests(
    connection: &mut PgConnection,
    schema: &Schema,
    slots: &BTreeSet<Slot>,
) -> Result<Digests, sqlx::Error> {
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1")
        .bind(schema.as_str())
        .fetch_all(&mut *connection)
        .await?;
    let mut digests = Digests::new();
    for table in tables {
        let rows: Vec<(String, i64, String)> = sqlx::query_as(&format!(
            "SELECT tenant_id, count(*), sum(hashtextextended(t::text, 0))::text
               FROM {schema}.\"{table}\" AS t GROUP BY tenant_id"
        ))
        .fetch_all(&mut *connection)
        .await?;
        let of_slots = rows.into_iter().filter(|(tenant, ..)| match tenant.parse() {
            Ok(tenant) => slots.contains(&Slot::of(&tenant)),
            // No tenant's: it is compared whatever its slot.
            Err(_) => true,
        });
        digests.extend(of_slots.map(|(tenant, count, sum)| ((tenant, table.clone()), (count, sum))));
    }
    Ok(digests)
}

fn differences(here: &Digests, there: &Digests) -> Vec<Differing> {
    let keys: BTreeSet<_> = here.keys().chain(there.keys()).collect();
    let differ = |key: &&&(String, String)| here.get(**key) != there.get(**key);
    let differing = keys.iter().filter(differ).map(|(tenant, table)| Differing {
        tenant: tenant.clone(),
        table: table.clone(),
    });
    differing.collect()
}

/// One number over all digests, to be told.
fn fingerprint(digests: &Digests) -> String {
    // FNV-1a: the digests are what counts; this only makes two of their lists easy to compare.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for ((tenant, table), (count, sum)) in digests {
        for byte in format!("{tenant}/{table}/{count}/{sum};").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}
