//! Opening a shard again after its standby was promoted or its backup restored.
//!
//! Such a shard may have lost the end of its log, and moves of slots in either direction. So every
//! slot is compared with the other shards', where the highest ownership wins; what stays gets a new
//! incarnation, so that readers who are ahead of the log stop instead of waiting for positions that
//! will mean something else; and only then appends are taken.
//!
//! One transaction under the head lock opens the shard. A crash before it leaves the shard closed,
//! and the next run does it all; one after it has the work done, and running `restored` again would
//! only raise the incarnations once more.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::control::unreachable;
use crate::error::Error;
use crate::ids::{Incarnation, Ownership, ShardId, Slot, SlotPosition};
use crate::incarnations::{Ahead, History, read_branches};
use crate::options::ShardOptions;
use crate::read::SlotHead;
use crate::token::PositionToken;

/// How long a database may take to be connected to and say a little.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to get the head lock and write of every slot.
const PATIENCE_FOR_WORK: Duration = Duration::from_secs(30);

/// What to do where another shard cannot be read, and so may own a slot without our knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    Refuse,
    /// Compare with those that answer. If the other one owns a slot too, two logs of it will grow.
    Accept,
}

/// A shard to be opened again.
#[derive(Debug, Clone, Copy)]
pub struct Reopen<'a> {
    pub shard: ShardId,
    /// All shards of the platform, this one included.
    pub shards: &'a [ShardOptions],
    pub unreachable: Unreachable,
    /// Positions known elsewhere, such as read stores' checkpoints: those that are beyond the heads
    /// are reported.
    pub known: &'a [PositionToken],
}

/// A shard that takes appends again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reopened {
    pub shard: ShardId,
    pub slots: Vec<ReopenedSlot>,
    /// Events known elsewhere that the log no longer has.
    pub lost: Vec<Ahead>,
    /// Slots that no shard that could be read owns: a move to here that was lost.
    pub ownerless: Vec<Slot>,
    /// Shards that could not be compared with.
    pub unreachable: Vec<ShardId>,
}

/// A slot of a shard that was opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReopenedSlot {
    pub slot: Slot,
    pub head: SlotPosition,
    pub before: Incarnation,
    pub now: Incarnation,
    pub owned_before: bool,
    /// False where another shard's ownership is higher.
    pub owned: bool,
}

/// Opens a shard whose standby was promoted.
///
/// # Errors
/// [`Error::Misconfigured`] where the shard's server is the one that it was opened on, or a restored
/// one; [`Error::Unavailable`].
pub async fn promote(control: &mut PgConnection, reopen: &Reopen<'_>) -> Result<Reopened, Error> {
    run(control, reopen, "promoted").await
}

/// Opens a shard that was restored from a backup; also one where that could not be recognised.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn restored(control: &mut PgConnection, reopen: &Reopen<'_>) -> Result<Reopened, Error> {
    run(control, reopen, "restored").await
}

async fn run(control: &mut PgConnection, reopen: &Reopen<'_>, reason: &str) -> Result<Reopened, Error> {
    let options = reopen.shards.iter().find(|shard| shard.id == reopen.shard);
    let options = options.ok_or(Error::UnknownShard(reopen.shard))?;
    let mut shard = in_time(PATIENCE, open(options)).await?;
    in_time(PATIENCE_FOR_WORK, close_to_appends(&mut shard, reopen.shard, reason)).await?;
    let others = Others::read(reopen).await?;
    let floor = in_time(PATIENCE, reserve(control, &mut shard, reopen)).await?;
    let work = open_to_appends(&mut shard, &others, floor, reason);
    let (slots, history) = in_time(PATIENCE_FOR_WORK, work).await?;
    let owned = |slot: Slot| slots.iter().any(|it| it.slot == slot && it.owned) || others.owns(slot);
    let reopened = Reopened {
        shard: reopen.shard,
        lost: history.ahead(reopen.known),
        ownerless: Slot::all().filter(|slot| !owned(*slot)).collect(),
        unreachable: others.unreachable,
        slots,
    };
    tracing::info!(shard = %reopen.shard, reason, incarnation = %floor, "a shard was opened again");
    Ok(reopened)
}

async fn open_to_appends(
    shard: &mut PgConnection,
    others: &Others,
    floor: Incarnation,
    reason: &str,
) -> Result<(Vec<ReopenedSlot>, History), Error> {
    let failed = |error| Error::unavailable("the shard cannot be opened again", error);
    let mut work = shard.begin().await.map_err(failed)?;
    sqlx::query("SELECT lock_head()")
        .execute(&mut *work)
        .await
        .map_err(failed)?;
    let before = read_heads(&mut work).await.map_err(failed)?;
    let slots: Vec<ReopenedSlot> = before
        .iter()
        .map(|head| ReopenedSlot {
            slot: head.slot,
            head: head.slot_position,
            before: head.incarnation,
            now: floor,
            owned_before: head.owned,
            owned: head.owned && !others.outrank(head),
        })
        .collect();
    write(&mut work, &slots, reason).await.map_err(failed)?;
    let history = History::new(
        read_heads(&mut work).await.map_err(failed)?.into_iter(),
        read_branches(&mut *work).await.map_err(failed)?,
    );
    work.commit().await.map_err(failed)?;
    Ok((slots, history))
}

/// A database that hangs is one that cannot be reached.
async fn in_time<T>(patience: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| {
        let source = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        Err(Error::unavailable("a database does not answer", source))
    };
    timeout(patience, work).await.unwrap_or_else(late)
}

async fn open(shard: &ShardOptions) -> Result<PgConnection, Error> {
    let failed = |error| Error::unavailable("a shard cannot be reached", error);
    let mut connection = PgConnection::connect(&shard.url).await.map_err(failed)?;
    let found: Option<i16> = sqlx::query_scalar("SELECT shard_id FROM shard")
        .fetch_optional(&mut connection)
        .await
        .map_err(failed)?;
    if found.map(ShardId) == Some(shard.id) {
        return Ok(connection);
    }
    let problem = format!("the database configured for shard {} is not that shard", shard.id);
    Err(Error::Misconfigured(problem))
}

/// From here on nothing is appended. Only an operator can know of a restoration that left no trace,
/// so an open shard is closed on their word; a promotion always leaves one.
async fn close_to_appends(connection: &mut PgConnection, shard: ShardId, reason: &str) -> Result<(), Error> {
    let failed = |error| Error::unavailable("the shard's server cannot be recognised", error);
    let state: String = sqlx::query_scalar("SELECT state FROM recognise_server(0, 0)")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    match (state.as_str(), reason) {
        ("open", "restored") => {
            let mut work = connection.begin().await.map_err(failed)?;
            for sql in ["SELECT lock_head()", "UPDATE shard SET state = 'restored'"] {
                sqlx::query(sql).execute(&mut *work).await.map_err(failed)?;
            }
            work.commit().await.map_err(failed)
        }
        ("open", _) => Err(Error::Misconfigured(format!(
            "shard {shard} is open, on the server that it was opened on: nothing was promoted"
        ))),
        ("restored", "promoted") => Err(Error::Misconfigured(format!(
            "shard {shard} was not promoted but restored from a backup: run `comanda shards restored`"
        ))),
        _ => Ok(()),
    }
}

/// The incarnation to give, which nothing was ever given: noted in the control database first, so
/// that it is used up whatever happens next.
async fn reserve(
    control: &mut PgConnection,
    shard: &mut PgConnection,
    reopen: &Reopen<'_>,
) -> Result<Incarnation, Error> {
    let here: i32 = sqlx::query_scalar("SELECT coalesce(max(incarnation), 1) FROM slots")
        .fetch_one(shard)
        .await
        .map_err(Error::read)?;
    let known = reopen
        .known
        .iter()
        .map(|token| token.incarnation.0)
        .fold(here, i32::max);
    let next: Option<i32> = sqlx::query_scalar(
        "UPDATE shards SET incarnation = greatest(incarnation, $2) + 1 WHERE shard_id = $1 RETURNING incarnation",
    )
    .bind(reopen.shard.0)
    .bind(known)
    .fetch_optional(control)
    .await
    .map_err(unreachable)?;
    next.map(Incarnation).ok_or(Error::UnknownShard(reopen.shard))
}

async fn write(work: &mut PgConnection, slots: &[ReopenedSlot], reason: &str) -> Result<(), sqlx::Error> {
    let (ids, owned): (Vec<i16>, Vec<bool>) = slots.iter().map(|slot| (slot.slot.as_i16(), slot.owned)).unzip();
    let Some(now) = slots.first().map(|slot| slot.now) else {
        return reset(work).await;
    };
    sqlx::query(
        "INSERT INTO incarnations (slot, incarnation, began_behind, reason) \
         SELECT slot, $1, slot_position, $2 FROM slots",
    )
    .bind(now.0)
    .bind(reason)
    .execute(&mut *work)
    .await?;
    sqlx::query(
        "UPDATE slots s SET incarnation = $1, owned = c.owned \
           FROM unnest($2::smallint[], $3::boolean[]) AS c (slot, owned) WHERE s.slot = c.slot",
    )
    .bind(now.0)
    .bind(ids)
    .bind(owned)
    .execute(&mut *work)
    .await?;
    reset(work).await
}

async fn reset(work: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE shard SET state = 'open', reopened = reopened + 1, system_identifier = server_identifier(), \
                database_oid = server_database(), timeline = server_timeline()",
    )
    .execute(work)
    .await?;
    Ok(())
}

async fn read_heads(connection: &mut PgConnection) -> Result<Vec<SlotHead>, sqlx::Error> {
    sqlx::query_as("SELECT slot, slot_position, incarnation, ownership, owned FROM slots ORDER BY slot")
        .fetch_all(connection)
        .await
        .map(SlotHead::from_rows)
}

/// What the other shards say of the slots.
#[derive(Debug, Default)]
struct Others {
    /// The highest ownership among those that own it, and among those that once did.
    claims: HashMap<Slot, (Option<Ownership>, Ownership)>,
    unreachable: Vec<ShardId>,
}

impl Others {
    async fn read(reopen: &Reopen<'_>) -> Result<Self, Error> {
        let mut others = Self::default();
        let others_of = reopen.shards.iter().filter(|shard| shard.id != reopen.shard);
        let read = async |shard: &ShardOptions| read_heads(&mut open(shard).await?).await.map_err(Error::read);
        let asked = others_of.map(async |shard| (shard, in_time(PATIENCE, read(shard)).await));
        for (shard, heads) in join_all(asked).await {
            match (heads, reopen.unreachable) {
                (Ok(heads), _) => heads.iter().for_each(|head| others.add(head)),
                (Err(error @ Error::Misconfigured(_)), _) | (Err(error), Unreachable::Refuse) => return Err(error),
                (Err(_), Unreachable::Accept) => others.unreachable.push(shard.id),
            }
        }
        Ok(others)
    }

    fn add(&mut self, head: &SlotHead) {
        let (owner, once) = self.claims.entry(head.slot).or_default();
        if head.owned {
            *owner = (*owner).max(Some(head.ownership));
        } else {
            *once = (*once).max(head.ownership);
        }
    }

    /// A tie goes to the other, which took appends while this shard could not. That one gave a slot
    /// away at a higher ownership proves as well that it had left here.
    fn outrank(&self, head: &SlotHead) -> bool {
        let claims = self.claims.get(&head.slot);
        claims.is_some_and(|(owner, once)| owner.is_some_and(|it| it >= head.ownership) || *once > head.ownership)
    }

    fn owns(&self, slot: Slot) -> bool {
        self.claims.get(&slot).is_some_and(|(owner, _)| owner.is_some())
    }
}
