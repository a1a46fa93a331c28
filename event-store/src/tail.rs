//! Following a shard's log as it grows.
//!
//! Guarantee: every event of the slots that the shard owns, in position order, each once. (A slot that a
//! move has shut here, and not opened elsewhere yet, counts as owned: what it has is still to be seen.) Positions
//! are given out under the head lock and become visible in order, so there is no gap to wait for
//! and nothing ever appears behind the tail. Copies made by a move, and events of slots that moved
//! away, are passed over: whoever follows the other shard has them.
//!
//! On a crash the reader starts again from the position it last kept. Being woken is not needed for
//! correctness: a poll finds what other processes appended.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::error::Error;
use crate::ids::Position;
use crate::record::{COLUMNS, RecordedEvent, from_row};

/// The most rows read at once, whatever the caller asks for: no snapshot is held longer than that.
const PAGE_MAX: usize = 5_000;

/// A reader of one shard's log. Dropping a pending [`Tail::next`] loses nothing.
#[derive(Debug)]
pub struct Tail {
    pool: PgPool,
    head: watch::Receiver<Position>,
    after: Position,
    poll_interval: Duration,
}

impl Tail {
    pub(crate) fn new(pool: PgPool, head: watch::Receiver<Position>, after: Position, poll_interval: Duration) -> Self {
        Self {
            pool,
            head,
            after,
            poll_interval,
        }
    }

    /// Everything up to here has been returned or passed over.
    pub fn position(&self) -> Position {
        self.after
    }

    /// The next events, at least one and at most `max`; waits until there are some.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the shard cannot be read: call again, nothing is lost.
    /// [`Error::UnknownStream`] where a newer binary wrote the next event: it stays the next.
    pub async fn next(&mut self, max: usize) -> Result<Vec<RecordedEvent>, Error> {
        loop {
            let events = self.poll(max).await?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// One look at the log: what there is, or nothing after having waited for a sign of more.
    pub(crate) async fn poll(&mut self, max: usize) -> Result<Vec<RecordedEvent>, Error> {
        // Before the query, so that an append during it wakes us.
        self.head.borrow_and_update();
        let rows = self.page(max).await.map_err(Error::read)?;
        if !rows.is_empty() {
            return self.advance(&rows);
        }
        tokio::select! {
            changed = self.head.changed() => if changed.is_err() {
                // This process no longer appends; others may.
                sleep(self.poll_interval).await;
            },
            () = sleep(self.poll_interval) => {}
        }
        Ok(Vec::new())
    }

    async fn page(&self, max: usize) -> Result<Vec<PgRow>, sqlx::Error> {
        let max = i64::try_from(max.clamp(1, PAGE_MAX)).unwrap_or(1);
        sqlx::query(&format!(
            "SELECT {COLUMNS}, (s.owned OR s.fenced) AND NOT e.copied AS visible \
               FROM events e JOIN slots s ON s.slot = e.slot \
              WHERE e.position > $1 ORDER BY e.position LIMIT $2"
        ))
        .bind(self.after.0)
        .bind(max)
        .fetch_all(&self.pool)
        .await
    }

    /// Takes over a page. Stops before an event that cannot be read, so that what precedes it is
    /// delivered and it is met again, first.
    fn advance(&mut self, rows: &[PgRow]) -> Result<Vec<RecordedEvent>, Error> {
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let place = || Ok::<_, sqlx::Error>((Position(row.try_get("position")?), row.try_get("visible")?));
            let (position, visible): (Position, bool) = place().map_err(Error::read)?;
            if visible {
                match from_row(row) {
                    Ok(event) => events.push(event),
                    Err(error) if events.is_empty() => return Err(error),
                    Err(_) => break,
                }
            }
            self.after = position;
        }
        Ok(events)
    }
}
