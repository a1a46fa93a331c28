//! The reader of one shard's part of a scan.

use std::collections::BTreeMap;
use std::task::{Context, Poll};
use std::time::Duration;

use domain::StreamId;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ScanPage;
use super::plan::{ShardRange, SlotRange};
use crate::error::Error;
use crate::follow::Cursor;
use crate::ids::{Position, ShardId, Slot, SlotPosition};
use crate::read::filter::LogFilter;
use crate::record::{COLUMNS, RecordedEvent, from_row};
use crate::store::EventStore;
use crate::token::PositionToken;

/// Rows of one statement, at most and at least.
const ROWS_MAX: i64 = 4_000;
const ROWS_MIN: i64 = 32;
/// Of one page, about: the next has fewer rows where the last was larger.
const PAGE_BYTES: i64 = 4 << 20;
/// What an event takes besides its payload, about.
const EVENT_BYTES: i64 = 1_500;
/// Pages that wait for whoever takes them.
const PAGES_AHEAD: usize = 2;
/// Up to so many slots are read one after another by their own index; more, in the shard's order.
const SLOTS_BY_THEMSELVES: usize = 8;
/// A shard that restarts is waited for.
const TRIES: u32 = 40;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// One shard's pages, in the shard's order.
#[derive(Debug)]
pub struct Lane {
    shard: ShardId,
    pages: mpsc::Receiver<Result<Option<ScanPage>, Error>>,
    done: bool,
    /// Ends with the lane.
    _reader: JoinSet<()>,
}

impl Lane {
    pub(super) fn start(store: &EventStore, filter: LogFilter, range: ShardRange) -> Self {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let shard = range.shard;
        let reader = Reader {
            store: store.clone(),
            filter,
            shard,
            until: (range.after, range.until),
            reached: range.slots.iter().map(|(slot, range)| (*slot, range.after)).collect(),
            slots: range.slots,
            rows: ROWS_MAX / 4,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run(sender));
        Self {
            shard,
            pages,
            done: false,
            _reader: tasks,
        }
    }

    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The next page; `None` when everything of the shard was returned.
    ///
    /// # Errors
    /// As [`Scan::next`](super::Scan::next).
    pub async fn next(&mut self) -> Result<Option<ScanPage>, Error> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<ScanPage>, Error>> {
        if self.done {
            return Poll::Ready(Ok(None));
        }
        self.pages.poll_recv(context).map(|page| match page {
            Some(Ok(Some(page))) => Ok(Some(page)),
            Some(Ok(None)) => {
                self.done = true;
                Ok(None)
            }
            Some(Err(error)) => {
                self.done = true;
                Err(error)
            }
            // It never said that it was at the end, so it is not.
            None => {
                self.done = true;
                Err(Error::Unavailable {
                    reason: "the reader of a shard ended before its end",
                    source: None,
                })
            }
        })
    }
}

struct Reader {
    store: EventStore,
    filter: LogFilter,
    shard: ShardId,
    until: (Position, Position),
    slots: BTreeMap<Slot, SlotRange>,
    reached: BTreeMap<Slot, SlotPosition>,
    /// Of the next statement.
    rows: i64,
}

type Pages = mpsc::Sender<Result<Option<ScanPage>, Error>>;

/// Nobody takes pages any more.
struct Gone;

impl Reader {
    async fn run(mut self, pages: Pages) {
        let read = match self.filter.stream.clone() {
            Some(stream) => self.stream(&stream, &pages).await,
            None if self.slots.len() <= SLOTS_BY_THEMSELVES => self.by_slot(&pages).await,
            None => self.by_position(&pages).await,
        };
        let end = match read {
            Ok(Ok(())) => Ok(None),
            Ok(Err(Gone)) => return,
            Err(error) => Err(error),
        };
        // Nobody to tell: nothing lost.
        drop(pages.send(end).await);
    }

    async fn by_position(&mut self, pages: &Pages) -> Result<Result<(), Gone>, Error> {
        let (mut after, until) = self.until;
        while after < until {
            let to = Position((after.0 + self.rows).min(until.0));
            let range = "e.position > $1 AND e.position <= $2";
            let rows = self.rows_of(range, "e.position", None, after.0, to.0).await?;
            if self.give(&rows, pages).await?.is_err() {
                return Ok(Err(Gone));
            }
            after = to;
        }
        self.complete()
    }

    async fn by_slot(&mut self, pages: &Pages) -> Result<Result<(), Gone>, Error> {
        for (slot, range) in self.slots.clone() {
            let mut after = range.after;
            while after < range.until {
                let to = SlotPosition((after.0 + self.rows).min(range.until.0));
                let of = "e.slot = $5 AND e.slot_position > $1 AND e.slot_position <= $2";
                let rows = self.rows_of(of, "e.slot_position", Some(slot), after.0, to.0).await?;
                if self.give(&rows, pages).await?.is_err() {
                    return Ok(Err(Gone));
                }
                after = to;
            }
        }
        self.complete()
    }

    /// A stream is found by key; what else is in its slot is not looked at.
    async fn stream(&mut self, stream: &StreamId, pages: &Pages) -> Result<Result<(), Gone>, Error> {
        let slot = Slot::of(stream.tenant());
        let Some(range) = self.slots.get(&slot).copied() else {
            return Ok(Ok(()));
        };
        let mut sequence = 0;
        loop {
            let rows = self.stream_rows(stream, range, sequence).await?;
            let mut events = Vec::with_capacity(rows.len());
            for row in &rows {
                let event = from_row(row)?;
                sequence = event.sequence.0;
                if self.filter.admits(&event) {
                    events.push(event);
                }
            }
            let last = i64::try_from(rows.len()).unwrap_or(ROWS_MAX) < ROWS_MAX;
            let mut passed = Cursor::default();
            if last {
                passed.set(token(slot, range, range.until));
            } else if let Some(event) = events.last() {
                passed.set(event.token());
            }
            let page = ScanPage {
                shard: self.shard,
                looked_at: rows.len() as u64,
                events,
                passed,
            };
            if pages.send(Ok(Some(page))).await.is_err() {
                return Ok(Err(Gone));
            }
            if last {
                return Ok(Ok(()));
            }
        }
    }

    async fn stream_rows(&self, stream: &StreamId, range: SlotRange, sequence: i64) -> Result<Vec<PgRow>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM events e JOIN slots s ON s.slot = e.slot \
              WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.sequence > $3 \
                AND e.slot_position > $4 AND e.slot_position <= $5 ORDER BY e.sequence LIMIT $6"
        );
        let query = || {
            sqlx::query(&sql)
                .bind(stream.kind().as_str())
                .bind(stream.aggregate_id())
                .bind(sequence)
                .bind(range.after.0)
                .bind(range.until.0)
                .bind(ROWS_MAX)
        };
        self.patiently(|pool| async move { query().fetch_all(&pool).await })
            .await
    }

    /// The rows of a range. What does not match comes without what makes a row large, so that the
    /// cursor passes it, and gaps are seen, at little cost.
    async fn rows_of(
        &self,
        range: &str,
        order: &str,
        slot: Option<Slot>,
        after: i64,
        to: i64,
    ) -> Result<Vec<PgRow>, Error> {
        let filter = &self.filter;
        let columns = COLUMNS
            .replace("e.payload", "CASE WHEN m.matches THEN e.payload END AS payload")
            .replace("e.metadata", "CASE WHEN m.matches THEN e.metadata END AS metadata");
        let types: Vec<&str> = filter.types.iter().map(|kind| kind.as_str()).collect();
        let sql = format!(
            "SELECT {columns}, m.matches FROM events e JOIN slots s ON s.slot = e.slot \
              CROSS JOIN LATERAL (SELECT (($3::text IS NULL OR e.tenant_id = $3) \
                   AND ($4::text[] IS NULL OR e.event_type = ANY ($4)) \
                   AND ($6::text IS NULL OR e.metadata ->> 'establishment_id' = $6)) IS TRUE AS matches) m \
              WHERE {range} AND ($5::smallint IS NULL OR e.slot = $5) ORDER BY {order}"
        );
        let query = || {
            sqlx::query(&sql)
                .bind(after)
                .bind(to)
                .bind(filter.tenant.as_ref().map(|tenant| tenant.as_str()))
                .bind((!types.is_empty()).then_some(&types))
                .bind(slot.map(Slot::as_i16))
                .bind(filter.establishment.as_ref().map(|id| id.as_str()))
        };
        self.patiently(|pool| async move { query().fetch_all(&pool).await })
            .await
    }

    async fn patiently<T, F: Future<Output = Result<T, sqlx::Error>>>(
        &self,
        ask: impl Fn(sqlx::PgPool) -> F,
    ) -> Result<T, Error> {
        let shard = self.store.shard(self.shard)?;
        let mut tries = 0;
        loop {
            match ask(shard.pool.clone()).await {
                Err(error) if tries >= TRIES => return Err(Error::read(error)),
                Err(error) => {
                    tracing::warn!(shard = %self.shard, error = %error, "a page could not be read; trying again");
                    tries += 1;
                    sleep(PAUSE_AFTER_FAILURE).await;
                }
                Ok(rows) => return Ok(rows),
            }
        }
    }

    async fn give(&mut self, rows: &[PgRow], pages: &Pages) -> Result<Result<(), Gone>, Error> {
        let mut page = ScanPage {
            shard: self.shard,
            events: Vec::with_capacity(rows.len()),
            passed: Cursor::default(),
            looked_at: 0,
        };
        let mut bytes = 0_i64;
        for row in rows {
            if let Some(event) = self.take(row, &mut page)? {
                bytes += EVENT_BYTES + i64::try_from(event.payload.get().len()).unwrap_or(PAGE_BYTES);
                page.events.push(event);
            }
        }
        if let Some(largest) = (PAGE_BYTES * self.rows).checked_div(bytes) {
            self.rows = largest.clamp(ROWS_MIN, ROWS_MAX);
        }
        Ok(pages.send(Ok(Some(page))).await.map_err(|_| Gone))
    }

    /// Passes over one row; its event, where it is one of those asked for.
    fn take(&mut self, row: &PgRow, page: &mut ScanPage) -> Result<Option<RecordedEvent>, Error> {
        let place = || Ok::<_, sqlx::Error>((row.try_get("slot")?, row.try_get("slot_position")?));
        let (slot, position): (i16, i64) = place().map_err(Error::read)?;
        let position = SlotPosition(position);
        let Some((slot, range)) = Slot::from_i16(slot).and_then(|slot| Some((slot, *self.slots.get(&slot)?))) else {
            return Ok(None);
        };
        if position <= range.after || position > range.until {
            return Ok(None);
        }
        let reached = self.reached.entry(slot).or_default();
        if position.0 != reached.0 + 1 {
            return Err(missing(slot, *reached, position));
        }
        *reached = position;
        page.looked_at += 1;
        page.passed.set(token(slot, range, position));
        if row.try_get("matches").map_err(Error::read)? {
            from_row(row).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether all that was planned was read.
    fn complete(&self) -> Result<Result<(), Gone>, Error> {
        let reached = |slot| self.reached.get(slot).copied().unwrap_or_default();
        let short = self.slots.iter().find(|(slot, range)| reached(slot) != range.until);
        match short {
            Some((slot, range)) => Err(missing(*slot, reached(slot), SlotPosition(range.until.0 + 1))),
            None => Ok(Ok(())),
        }
    }
}

fn token(slot: Slot, range: SlotRange, slot_position: SlotPosition) -> PositionToken {
    PositionToken {
        slot,
        incarnation: range.incarnation,
        slot_position,
    }
}

fn missing(slot: Slot, reached: SlotPosition, next: SlotPosition) -> Error {
    Error::Misconfigured(format!(
        "events of slot {slot} are missing from the log: after position {reached} comes {next}; `comanda doctor` \
         looks at the whole of it"
    ))
}
