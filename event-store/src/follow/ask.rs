//! What a follower asks of the shards, each by a task of its own.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::cursor::Cursor;
use crate::error::Error;
use crate::ids::{Incarnation, Position, ShardId, Slot, SlotPosition};
use crate::read::filter::LogFilter;
use crate::record::RecordedEvent;
use crate::store::EventStore;
use crate::tail::Tail;
use crate::token::PositionToken;

/// Events read at once.
pub(super) const PAGE: usize = 500;
/// How long a shard may take to answer. Longer than the server's own time-out.
const PATIENCE: Duration = Duration::from_secs(15);
pub(super) const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What a task was told by a shard.
pub(super) enum Found {
    /// By its tail, which has passed everything up to `passed`.
    Page {
        shard: ShardId,
        events: Vec<RecordedEvent>,
        passed: Position,
    },
    /// By its tail, or before there was one.
    Failed(Error),
    /// Of a slot by itself, behind what was reached of it.
    Slot {
        slot: Slot,
        events: Result<Vec<RecordedEvent>, Error>,
    },
    Heads {
        shard: ShardId,
        heads: Result<Heads, Error>,
    },
}

/// A shard's position, and its slots' heads then.
pub(super) type Heads = (Position, Vec<PositionToken>);

pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Err(Error::read(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    timeout(PATIENCE, answer).await.unwrap_or_else(late)
}

/// The heads of a shard that has all of what was reached of it.
pub(super) async fn look(store: &EventStore, shard: ShardId, reached: &Cursor) -> Result<Heads, Error> {
    let heads = heads(store, shard).await?;
    refuse_what_was_lost(store, shard, reached).await?;
    Ok(heads)
}

/// Refuses a cursor that a restoration or promotion of the shard left behind.
pub(crate) async fn refuse_what_was_lost(store: &EventStore, shard: ShardId, reached: &Cursor) -> Result<(), Error> {
    let tokens: Vec<PositionToken> = reached.tokens().collect();
    let ahead = store.history(shard).await?.ahead(&tokens);
    ahead.first().map_or(Ok(()), |ahead| {
        Err(Error::Misconfigured(format!(
            "position {} was lost when its shard was restored or promoted: go on from slot position {}",
            ahead.known, ahead.agreed
        )))
    })
}

/// A shard's position and the heads of the slots that it owns, as of one moment. One that a move has shut
/// here, and not opened elsewhere yet, counts.
pub(super) async fn heads(store: &EventStore, shard: ShardId) -> Result<Heads, Error> {
    let rows: Vec<(i64, i16, i32, i64)> = sqlx::query_as(
        "SELECT h.position, s.slot, s.incarnation, s.slot_position FROM shard h, slots s \
              WHERE s.owned OR s.fenced",
    )
    .fetch_all(&store.shard(shard)?.pool)
    .await
    .map_err(Error::read)?;
    let position = Position(rows.first().map_or(0, |row| row.0));
    let token = |(_, slot, incarnation, slot_position)| {
        Some(PositionToken {
            slot: Slot::from_i16(slot)?,
            incarnation: Incarnation(incarnation),
            slot_position: SlotPosition(slot_position),
        })
    };
    Ok((position, rows.into_iter().filter_map(token).collect()))
}

/// Reads one shard's tail, a few pages ahead of the follower; ends with it.
pub(super) struct Reader {
    pub(super) store: EventStore,
    pub(super) shard: ShardId,
    pub(super) filter: LogFilter,
    /// What the follower had when this began.
    pub(super) reached: Cursor,
}

impl Reader {
    pub(super) async fn run(self, found: mpsc::Sender<Found>) {
        let mut tail = loop {
            match in_time(self.open()).await {
                Ok(tail) => break tail,
                Err(error) => {
                    if found.send(Found::Failed(error)).await.is_err() {
                        return;
                    }
                    sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        };
        let mut told = None;
        loop {
            let events = in_time(tail.poll(PAGE)).await;
            let failed = events.is_err();
            let (shard, passed) = (self.shard, tail.position());
            let page = match events {
                Ok(events) if events.is_empty() && told == Some(passed) => continue,
                Ok(events) => Found::Page { shard, events, passed },
                Err(error) => Found::Failed(error),
            };
            told = Some(passed);
            if found.send(page).await.is_err() {
                return;
            }
            if failed {
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    async fn open(&self) -> Result<Tail, Error> {
        refuse_what_was_lost(&self.store, self.shard, &self.reached).await?;
        self.store.tail(self.shard, self.start().await?)
    }

    /// In front of the first event of the shard that lies behind the cursor. For one slot alone its
    /// past is read from the slot, and the tail serves what comes.
    async fn start(&self) -> Result<Position, Error> {
        let (slots, positions): (Vec<i16>, Vec<i64>) = match self.filter.single_slot() {
            Some(_) => Default::default(),
            None => Slot::all()
                .filter(|slot| self.filter.wants_slot(*slot))
                .map(|slot| (slot.as_i16(), self.reached.position(slot).0 + 1))
                .unzip(),
        };
        let position = sqlx::query_scalar(
            "SELECT coalesce((SELECT min(e.position) - 1 \
                                FROM unnest($1::smallint[], $2::bigint[]) AS c (slot, slot_position) \
                                JOIN events e ON e.slot = c.slot AND e.slot_position = c.slot_position), \
                             (SELECT position FROM shard))",
        )
        .bind(slots)
        .bind(positions)
        .fetch_one(&self.store.shard(self.shard)?.pool)
        .await
        .map_err(Error::read)?;
        Ok(Position(position))
    }
}
