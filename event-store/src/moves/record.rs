//! Moves as the control database knows them.

use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, PgExecutor, Row};

use crate::control::unreachable;
use crate::error::Error;
use crate::ids::{ShardId, Slot, SlotPosition};

/// Names a move; rises from each to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoveId(pub i64);

/// How far a move has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MoveState {
    Planned,
    /// Events are copied while the source takes more.
    Copying,
    /// The source may be shut from here on.
    Fencing,
    CatchingUp,
    Verifying,
    /// Waits for the source's relays.
    Draining,
    /// Decided: it can only be finished, unless its source lost the fence before the target opened.
    Opening,
    Done,
    /// Decided: it can only be undone.
    Undoing,
    Undone,
}

impl MoveState {
    const ALL: [Self; 10] = [
        Self::Planned,
        Self::Copying,
        Self::Fencing,
        Self::CatchingUp,
        Self::Verifying,
        Self::Draining,
        Self::Opening,
        Self::Done,
        Self::Undoing,
        Self::Undone,
    ];

    /// Before anything was decided.
    pub(super) const UNDECIDED: [Self; 6] = [
        Self::Planned,
        Self::Copying,
        Self::Fencing,
        Self::CatchingUp,
        Self::Verifying,
        Self::Draining,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Copying => "copying",
            Self::Fencing => "fencing",
            Self::CatchingUp => "catching_up",
            Self::Verifying => "verifying",
            Self::Draining => "draining",
            Self::Opening => "opening",
            Self::Done => "done",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
        }
    }

    fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A move of one slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub id: MoveId,
    pub slot: Slot,
    pub source: ShardId,
    pub target: ShardId,
    pub state: MoveState,
    /// Up to here source and target were compared and found equal.
    pub verified: SlotPosition,
    /// How many events the slot had when it was opened.
    pub events: Option<i64>,
    /// How long the slot took no appends.
    pub pause_ms: Option<f64>,
    /// Why it was undone.
    pub reason: Option<String>,
}

const COLUMNS: &str = "move, slot, source, target, state, verified_position, events, pause_ms, reason";

fn from_row(row: &PgRow) -> Result<Move, sqlx::Error> {
    let state: String = row.try_get("state")?;
    let unknown = |what: &str| sqlx::Error::Decode(format!("a move's {what} is not known here").into());
    Ok(Move {
        id: MoveId(row.try_get("move")?),
        slot: Slot::from_i16(row.try_get("slot")?).ok_or_else(|| unknown("slot"))?,
        source: ShardId(row.try_get("source")?),
        target: ShardId(row.try_get("target")?),
        state: MoveState::from_stored(&state).ok_or_else(|| unknown("state"))?,
        verified: SlotPosition(row.try_get("verified_position")?),
        events: row.try_get("events")?,
        pause_ms: row.try_get("pause_ms")?,
        reason: row.try_get("reason")?,
    })
}

async fn select(control: impl PgExecutor<'_>, rest: &str, limit: i64) -> Result<Vec<Move>, Error> {
    let rows = sqlx::query(&format!("SELECT {COLUMNS} FROM moves {rest} LIMIT $1"))
        .bind(limit)
        .fetch_all(control)
        .await
        .map_err(unreachable)?;
    rows.iter().map(from_row).collect::<Result<_, _>>().map_err(unreachable)
}

/// The moves that are neither done nor undone, oldest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn unfinished_moves(control: &mut PgConnection) -> Result<Vec<Move>, Error> {
    select(control, "WHERE ended_at IS NULL ORDER BY move", i64::from(Slot::COUNT)).await
}

/// The last `limit` moves, newest first.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn recorded_moves(control: &mut PgConnection, limit: u32) -> Result<Vec<Move>, Error> {
    select(control, "ORDER BY move DESC", i64::from(limit)).await
}

/// Records moves to `target` of slots that stand on the shards named with them, in order. One of a slot
/// that is under way to the same target is taken over.
pub(super) async fn record(
    control: &mut PgConnection,
    slots: &[(Slot, ShardId)],
    target: ShardId,
) -> Result<Vec<Move>, Error> {
    let mut work = control.begin().await.map_err(unreachable)?;
    let (ids, sources): (Vec<i16>, Vec<i16>) = slots.iter().map(|(slot, shard)| (slot.as_i16(), shard.0)).unzip();
    sqlx::query(
        "INSERT INTO moves (slot, source, target) \
         SELECT i.slot, i.source, $3 FROM unnest($1::smallint[], $2::smallint[]) WITH ORDINALITY AS i (slot, source, n) \
          ORDER BY i.n \
             ON CONFLICT (slot) WHERE ended_at IS NULL DO NOTHING",
    )
    .bind(&ids)
    .bind(sources)
    .bind(target.0)
    .execute(&mut *work)
    .await
    .map_err(unreachable)?;
    let rows = sqlx::query(&format!(
        "SELECT {COLUMNS} FROM moves WHERE slot = ANY ($1) AND ended_at IS NULL ORDER BY move"
    ))
    .bind(&ids)
    .fetch_all(&mut *work)
    .await
    .map_err(unreachable)?;
    let moves: Vec<Move> = rows
        .iter()
        .map(from_row)
        .collect::<Result<_, _>>()
        .map_err(unreachable)?;
    if let Some(other) = moves.iter().find(|it| it.target != target) {
        return Err(Error::NotMoved {
            slot: other.slot,
            reason: format!(
                "it is on its way from shard {} to shard {} already: finish that with `comanda shards move --resume`, \
                 or take it back with --undo",
                other.source, other.target
            ),
        });
    }
    work.commit().await.map_err(unreachable)?;
    Ok(moves)
}

pub(super) async fn read(control: &mut PgConnection, id: MoveId) -> Result<Option<Move>, Error> {
    let row = sqlx::query(&format!("SELECT {COLUMNS} FROM moves WHERE move = $1"))
        .bind(id.0)
        .fetch_optional(control)
        .await
        .map_err(unreachable)?;
    row.as_ref().map(from_row).transpose().map_err(unreachable)
}

/// Whether a change must outlive a crash of the control database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It decides.
    Surely,
    /// It only tells, and writers may be waiting: no flush is waited for.
    Probably,
}

/// Goes on to a state from one of `from`; false where the move stands elsewhere. Between opening and
/// undoing, this update decides.
pub(super) async fn advance(
    control: &mut PgConnection,
    id: MoveId,
    from: &[MoveState],
    to: MoveState,
    kept: Kept,
) -> Result<bool, Error> {
    let commit = match kept {
        Kept::Surely => "on",
        Kept::Probably => "off",
    };
    let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
    let advanced = sqlx::query(
        "UPDATE moves SET state = $3, \
                fenced_at = CASE WHEN $3 = 'fencing' THEN coalesce(fenced_at, clock_timestamp()) ELSE fenced_at END \
          WHERE move = $1 AND state = ANY ($2) AND set_config('synchronous_commit', $4, true) = $4",
    )
    .bind(id.0)
    .bind(from)
    .bind(to.as_str())
    .bind(commit)
    .execute(control)
    .await
    .map_err(unreachable)?;
    Ok(advanced.rows_affected() == 1)
}

/// Also where that is less than before. Only the mover that holds the slot's lock on this connection
/// comes to it.
pub(super) async fn note_verified(control: &mut PgConnection, id: MoveId, upto: SlotPosition) -> Result<(), Error> {
    sqlx::query("UPDATE moves SET verified_position = $2 WHERE move = $1")
        .bind(id.0)
        .bind(upto.0)
        .execute(control)
        .await
        .map_err(unreachable)?;
    Ok(())
}

/// The slot is open at the target: says so to whoever asks for its placement. Returns the pause in
/// milliseconds: as measured, else by this database's clock.
pub(super) async fn finish(
    control: &mut PgConnection,
    done: &Move,
    events: SlotPosition,
    pause_ms: Option<f64>,
) -> Result<f64, Error> {
    let mut work = control.begin().await.map_err(unreachable)?;
    let finished: Option<Option<f64>> = sqlx::query_scalar(
        "UPDATE moves SET state = 'done', ended_at = clock_timestamp(), events = $2, \
                pause_ms = coalesce($3, extract(epoch FROM clock_timestamp() - fenced_at)::float8 * 1000) \
          WHERE move = $1 AND state = 'opening' RETURNING pause_ms",
    )
    .bind(done.id.0)
    .bind(events.0)
    .bind(pause_ms)
    .fetch_optional(&mut *work)
    .await
    .map_err(unreachable)?;
    // Another mover was first; the slot may have gone on since.
    let Some(pause_ms) = finished else {
        return Ok(pause_ms.unwrap_or_default());
    };
    sqlx::query("UPDATE placement SET shard_id = $2 WHERE slot = $1")
        .bind(done.slot.as_i16())
        .bind(done.target.0)
        .execute(&mut *work)
        .await
        .map_err(unreachable)?;
    work.commit().await.map_err(unreachable)?;
    Ok(pause_ms.unwrap_or_default())
}

pub(super) async fn finish_undoing(control: &mut PgConnection, id: MoveId, reason: &str) -> Result<(), Error> {
    sqlx::query(
        "UPDATE moves SET state = 'undone', ended_at = clock_timestamp(), reason = $2 \
          WHERE move = $1 AND state = 'undoing'",
    )
    .bind(id.0)
    .bind(reason)
    .execute(control)
    .await
    .map_err(unreachable)?;
    Ok(())
}
