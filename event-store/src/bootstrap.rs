//! Giving a fresh platform's shards their slots, once.
//!
//! Safe to run again at any point, and by several processes at once (an advisory lock on the
//! control database orders them): what exists is never changed. A crash in between leaves a prefix
//! of the work, and the next run does the rest. What it refuses to do is create again a shard that
//! is known to have existed: an empty database in its place is a loss to be repaired, not a start.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use tokio::time::timeout;

use crate::control::{read_placement, registered_shards, unreachable};
use crate::error::Error;
use crate::ids::{ShardId, Slot};
use crate::options::ShardOptions;

/// Names this work among users of advisory locks.
const LOCK: i64 = 0x636f_6d61_6e64_6101;
/// How long a shard may take to be connected to, while others wait for the lock.
const PATIENCE: Duration = Duration::from_secs(10);
const REGION: &str = "local";

/// Lays the slots out evenly over `shards` where the control database has no placement yet, and
/// creates the head and the owned slots of every shard that has none. Both kinds of database must
/// have been migrated.
///
/// # Errors
/// [`Error::Misconfigured`] where the configuration contradicts what exists; [`Error::Unavailable`]
/// where a database cannot be reached.
pub async fn bootstrap(control: &mut PgConnection, shards: &[ShardOptions]) -> Result<(), Error> {
    let ids: BTreeSet<ShardId> = shards.iter().map(|shard| shard.id).collect();
    if ids.is_empty() || ids.len() != shards.len() {
        return Err(Error::Misconfigured(
            "shards must be configured, each with an id of its own".to_owned(),
        ));
    }
    let mut work = begin(control).await?;
    place(&mut work, &ids).await.map_err(unreachable)?;
    let placement = read_placement(&mut work).await.map_err(unreachable)?;
    let registered = registered_shards(&mut work).await?;
    let elsewhere = |id| registered.iter().any(|shard| shard.id == id && shard.url.is_some());
    if let Some((_, missing)) = placement
        .iter()
        .find(|(_, shard)| !ids.contains(shard) && !elsewhere(*shard))
    {
        return Err(Error::Misconfigured(format!(
            "shard {missing} has slots placed on it, but is not configured"
        )));
    }
    for shard in shards {
        let known = is_known(&mut work, shard.id).await.map_err(unreachable)?;
        initialise(shard, known, &slots_of(&placement, shard.id)).await?;
        sqlx::query("INSERT INTO shards (shard_id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(shard.id.0)
            .execute(&mut *work)
            .await
            .map_err(unreachable)?;
    }
    work.commit().await.map_err(unreachable)
}

/// Where a registered shard's URL is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlKept {
    /// In the control database: processes that run learn it. It holds the URL's password too.
    InControl,
    /// In the settings of every process; the control database names the id only.
    InSettings,
}

/// Adds a shard to a platform that may be running: creates its head, without slots where none were
/// placed on it, and makes it known. Its database must have been migrated. Safe to run again; a
/// shard that is there is left as it is, and only where its URL is kept may change.
///
/// # Errors
/// [`Error::Misconfigured`] where the database is another shard, or one that was lost;
/// [`Error::Unavailable`] where a database cannot be reached.
pub async fn register_shard(control: &mut PgConnection, shard: &ShardOptions, kept: UrlKept) -> Result<(), Error> {
    let mut work = begin(control).await?;
    let placement = read_placement(&mut work).await.map_err(unreachable)?;
    let known = is_known(&mut work, shard.id).await.map_err(unreachable)?;
    initialise(shard, known, &slots_of(&placement, shard.id)).await?;
    sqlx::query(
        "INSERT INTO shards (shard_id, url) VALUES ($1, $2) ON CONFLICT (shard_id) DO UPDATE SET url = excluded.url",
    )
    .bind(shard.id.0)
    .bind((kept == UrlKept::InControl).then_some(&shard.url))
    .execute(&mut *work)
    .await
    .map_err(unreachable)?;
    work.commit().await.map_err(unreachable)
}

/// One at a time, whoever gives shards their slots.
async fn begin(control: &mut PgConnection) -> Result<Transaction<'_, Postgres>, Error> {
    let mut work = control.begin().await.map_err(unreachable)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *work)
        .await
        .map_err(unreachable)?;
    Ok(work)
}

fn slots_of(placement: &[(Slot, ShardId)], shard: ShardId) -> Vec<Slot> {
    placement
        .iter()
        .filter(|(_, id)| *id == shard)
        .map(|(slot, _)| *slot)
        .collect()
}

/// Slot by slot around the shards, so that their shares differ by one at most.
async fn place(control: &mut PgConnection, ids: &BTreeSet<ShardId>) -> Result<(), sqlx::Error> {
    let placed: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM placement)")
        .fetch_one(&mut *control)
        .await?;
    if placed {
        return Ok(());
    }
    let (slots, owners): (Vec<i16>, Vec<i16>) = Slot::all()
        .zip(ids.iter().cycle())
        .map(|(slot, shard)| (slot.as_i16(), shard.0))
        .unzip();
    sqlx::query(
        "INSERT INTO placement (slot, shard_id, region) SELECT *, $3 FROM unnest($1::smallint[], $2::smallint[])",
    )
    .bind(slots)
    .bind(owners)
    .bind(REGION)
    .execute(&mut *control)
    .await?;
    tracing::info!(
        shards = ids.len(),
        slots = Slot::COUNT,
        "slots were placed on a fresh platform's shards"
    );
    Ok(())
}

async fn is_known(control: &mut PgConnection, shard: ShardId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM shards WHERE shard_id = $1)")
        .bind(shard.0)
        .fetch_one(&mut *control)
        .await
}

/// Creates a shard's head and slots in one transaction, or leaves it as it is.
async fn initialise(shard: &ShardOptions, known: bool, slots: &[Slot]) -> Result<(), Error> {
    let unreachable = |error| Error::unavailable("a shard cannot be reached", error);
    let mut connection = timeout(PATIENCE, PgConnection::connect(&shard.url))
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
        .map_err(unreachable)?;
    let mut work = connection.begin().await.map_err(unreachable)?;
    let found: Option<i16> = sqlx::query_scalar("SELECT shard_id FROM shard")
        .fetch_optional(&mut *work)
        .await
        .map_err(unreachable)?;
    match found {
        Some(found) if ShardId(found) == shard.id => return Ok(()),
        Some(found) => {
            let problem = format!("the database configured for shard {} is shard {found}", shard.id);
            return Err(Error::Misconfigured(problem));
        }
        None if known => {
            let problem = format!(
                "shard {} existed, and its database is empty now: restore it, or point its URL at the right database",
                shard.id
            );
            return Err(Error::Misconfigured(problem));
        }
        None => {}
    }
    sqlx::query("INSERT INTO shard (shard_id) VALUES ($1)")
        .bind(shard.id.0)
        .execute(&mut *work)
        .await
        .map_err(unreachable)?;
    sqlx::query("INSERT INTO slots (slot) SELECT unnest($1::smallint[])")
        .bind(slots.iter().map(|slot| slot.as_i16()).collect::<Vec<_>>())
        .execute(&mut *work)
        .await
        .map_err(unreachable)?;
    work.commit().await.map_err(unreachable)?;
    tracing::info!(shard = %shard.id, slots = slots.len(), "shard created");
    Ok(())
}
