//! Which shard to ask for a slot: a cached hint. The shard's own slots table has the last word, and
//! a shard that answers "not mine" makes us read them all again.

use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Error;
use crate::ids::{Ownership, ShardId, Slot};
use crate::shard::Shard;
use crate::shards::Shards;

/// While a shard cannot be read, no more often than this: each attempt waits for it.
const PAUSE_WHILE_INCOMPLETE: Duration = Duration::from_millis(250);

const UNDEFINED_TABLE: &str = "42P01";

#[derive(Debug, Clone, Copy)]
struct Owner {
    shard: ShardId,
    ownership: Ownership,
}

/// What was known at one reading.
#[derive(Debug)]
struct Known {
    owners: Vec<Option<Owner>>,
    /// Whether every shard could be read, so that a slot without owner really has none.
    complete: bool,
}

#[derive(Debug)]
pub(crate) struct Placement {
    known: ArcSwap<Known>,
    last_read: Mutex<Option<Reading>>,
}

/// When the shards were last read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    began: Instant,
    ended: Instant,
}

impl Placement {
    pub(crate) fn unknown() -> Self {
        let known = Known {
            owners: vec![None; usize::from(Slot::COUNT)],
            complete: false,
        };
        Self {
            known: ArcSwap::from_pointee(known),
            last_read: Mutex::new(None),
        }
    }

    /// # Errors
    /// [`Error::NotOwned`], or [`Error::Unavailable`] where a shard that may own it cannot be read.
    pub(crate) fn owner(&self, slot: Slot) -> Result<ShardId, Error> {
        let known = self.known.load();
        match known.owners.get(usize::from(slot.0)).copied().flatten() {
            Some(owner) => Ok(owner.shard),
            None if known.complete => Err(Error::NotOwned { slot }),
            None => Err(Error::Unavailable {
                reason: "the slot's shard cannot be reached",
                source: None,
            }),
        }
    }

    /// Whether what the control database says is not what is known, as far as its shards are open.
    pub(crate) fn differs_from(&self, placement: &[(Slot, ShardId)], shards: &Shards) -> bool {
        let known = self.known.load();
        let differs = |(slot, shard): &(Slot, ShardId)| {
            let owner = known.owners.get(usize::from(slot.0)).copied().flatten();
            owner.map(|owner| owner.shard) != Some(*shard) && shards.get(*shard).is_some()
        };
        !known.complete || placement.iter().any(differs)
    }

    /// Reads every shard's slots, unless that was begun after `since`: what a caller met then is
    /// already known. A shard that cannot be read keeps what was known of it.
    pub(crate) async fn refresh(&self, shards: &Shards, since: Instant) -> Read {
        let mut last_read = self.last_read.lock().await;
        // Under the lock: a list taken before might lack a shard that was opened before `since`.
        let shards = shards.all();
        let incomplete = !self.known.load().complete;
        let fresh =
            |last: Reading| last.began >= since || (incomplete && last.ended.elapsed() < PAUSE_WHILE_INCOMPLETE);
        if last_read.is_some_and(fresh) {
            return Read::default();
        }
        let began = Instant::now();
        let before = self.known.load_full();
        let mut owners: Vec<Option<Owner>> = vec![None; usize::from(Slot::COUNT)];
        let mut read = Read::default();
        for (shard, answer) in shards
            .iter()
            .zip(join_all(shards.iter().map(|shard| owned_slots(shard))).await)
        {
            let claims = match answer {
                Ok(claims) => {
                    read.readable += 1;
                    claims
                }
                Err(error) => {
                    tracing::warn!(shard = %shard.id, error = %error, "cannot read the slots that a shard owns");
                    read.failures.push((shard.id, error));
                    remembered(&before, shard.id)
                }
            };
            for (slot, ownership) in claims {
                // Two shards may both claim a slot after a crash in a move: the highest wins.
                if let Some(entry) = owners.get_mut(usize::from(slot.0))
                    && entry.is_none_or(|other| other.ownership < ownership)
                {
                    *entry = Some(Owner {
                        shard: shard.id,
                        ownership,
                    });
                }
            }
        }
        self.known.store(std::sync::Arc::new(Known {
            owners,
            complete: read.readable == shards.len(),
        }));
        *last_read = Some(Reading {
            began,
            ended: Instant::now(),
        });
        read
    }
}

/// What a refresh met; nothing where there was nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) readable: usize,
    pub(crate) failures: Vec<(ShardId, Unreadable)>,
}

/// Why a shard's slots could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the database configured for shard {0} is not yet a shard")]
    NotYetAShard(ShardId),
    #[error("the database configured for shard {0} is shard {1}")]
    AnotherShard(ShardId, ShardId),
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
}

/// Makes sure that the database is the shard that it is taken for.
pub(crate) async fn identify(shard: &Shard) -> Result<(), Unreadable> {
    let answer = sqlx::query_scalar::<_, i16>("SELECT shard_id FROM shard")
        .fetch_optional(&shard.pool)
        .await;
    match answer.map(|id| id.map(ShardId)) {
        Ok(Some(id)) if id == shard.id => Ok(shard.branch.look(&shard.pool).await?),
        Ok(Some(id)) => Err(Unreadable::AnotherShard(shard.id, id)),
        Ok(None) => Err(Unreadable::NotYetAShard(shard.id)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
            Err(Unreadable::NotYetAShard(shard.id))
        }
        Err(error) => Err(error.into()),
    }
}

fn remembered(known: &Known, shard: ShardId) -> Vec<(Slot, Ownership)> {
    let claims = Slot::all()
        .zip(&known.owners)
        .filter_map(|(slot, owner)| owner.map(|owner| (slot, owner)));
    claims
        .filter(|(_, owner)| owner.shard == shard)
        .map(|(slot, owner)| (slot, owner.ownership))
        .collect()
}

async fn owned_slots(shard: &Shard) -> Result<Vec<(Slot, Ownership)>, Unreadable> {
    identify(shard).await?;
    let rows: Vec<(i16, i64)> = sqlx::query_as("SELECT slot, ownership FROM slots WHERE owned")
        .fetch_all(&shard.pool)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(slot, ownership)| Some((Slot::from_i16(slot)?, Ownership(ownership))))
        .collect())
}
