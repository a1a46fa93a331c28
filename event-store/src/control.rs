//! What the control database knows: which shards there are, where, and which slots were placed on
//! each. A record and a hint; no command waits for it.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::error::Error;
use crate::ids::{ShardId, Slot};
use crate::options::ShardOptions;

/// A shard that the control database names.
#[derive(Clone, PartialEq, Eq)]
pub struct RegisteredShard {
    pub id: ShardId,
    /// `None` where each process's settings must name it. May hold a password: never printed.
    pub url: Option<String>,
}

impl std::fmt::Debug for RegisteredShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisteredShard")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The shards that the control database names, by id.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn registered_shards(control: &mut PgConnection) -> Result<Vec<RegisteredShard>, Error> {
    read_shards(control).await.map_err(unreachable)
}

/// Every shard of the platform with its address: those of `settings`, and those that only the
/// control database knows. Where both name a URL, the settings' counts.
///
/// # Errors
/// [`Error::Unavailable`]; [`Error::Misconfigured`] where neither names a shard's URL.
pub async fn all_shards(control: &mut PgConnection, settings: &[ShardOptions]) -> Result<Vec<ShardOptions>, Error> {
    let mut all: BTreeMap<ShardId, ShardOptions> = settings.iter().map(|shard| (shard.id, shard.clone())).collect();
    for RegisteredShard { id, url } in registered_shards(control).await? {
        match url {
            _ if all.contains_key(&id) => {}
            Some(url) => drop(all.insert(id, ShardOptions { id, url })),
            None => {
                return Err(Error::Misconfigured(format!(
                    "the URL of shard {id} is neither in the settings nor in the control database"
                )));
            }
        }
    }
    Ok(all.into_values().collect())
}

pub(crate) fn unreachable(error: sqlx::Error) -> Error {
    Error::unavailable("the control database cannot be reached", error)
}

/// What one look at the control database found.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) shards: Vec<RegisteredShard>,
    pub(crate) placement: Vec<(Slot, ShardId)>,
}

/// A connection of its own for each look: one every few seconds, and nothing to keep alive.
pub(crate) async fn look(options: &PgConnectOptions) -> Result<Registered, sqlx::Error> {
    let mut control = PgConnection::connect_with(options).await?;
    let shards = read_shards(&mut control).await?;
    let placement = read_placement(&mut control).await?;
    control.close().await?;
    Ok(Registered { shards, placement })
}

async fn read_shards(control: &mut PgConnection) -> Result<Vec<RegisteredShard>, sqlx::Error> {
    let rows: Vec<(i16, Option<String>)> = sqlx::query_as("SELECT shard_id, url FROM shards ORDER BY shard_id")
        .fetch_all(control)
        .await?;
    let registered = |(id, url)| RegisteredShard { id: ShardId(id), url };
    Ok(rows.into_iter().map(registered).collect())
}

pub(crate) async fn read_placement(control: &mut PgConnection) -> Result<Vec<(Slot, ShardId)>, sqlx::Error> {
    let rows: Vec<(i16, i16)> = sqlx::query_as("SELECT slot, shard_id FROM placement ORDER BY slot")
        .fetch_all(control)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(slot, shard)| Some((Slot::from_i16(slot)?, ShardId(shard))))
        .collect())
}
