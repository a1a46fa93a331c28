//! One call of `append_events`: a batch's arrays out, an outcome per append back.

use chrono::{DateTime, NaiveDate, Utc};
use domain::metadata::key;
use domain::{OrderNumber, Sequence, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::append::{Append, Committed, Placed};
use crate::branch::Epoch;
use crate::error::Error;
use crate::ids::{Incarnation, Position, ShardId, Slot, SlotPosition};

/// Entries that the log assigns itself; never taken from a caller.
pub(crate) const ASSIGNED: [&str; 6] = [
    key::EVENT_ID,
    key::NUMBER,
    key::SLOT,
    key::SLOT_POSITION,
    key::INCARNATION,
    key::RECORDED_AT,
];

/// An append ready to be sent: checked and serialised by the caller's task, not the committer's.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) append: Append,
    pub(crate) slot: Slot,
    /// When the state that it was decided on was read; `None` where none was.
    pub(crate) decided: Option<Epoch>,
    metadata: Vec<String>,
    pub(crate) bytes: usize,
}

impl Prepared {
    /// # Errors
    /// [`Error::Rejected`] for what PostgreSQL would store and not give back: a NUL in text (valid
    /// in `json`, refused by every text column that a reader copies it to), or no event at all.
    pub(crate) fn new(append: Append, decided: Option<Epoch>) -> Result<Self, Error> {
        let reject = |reason: &str| Error::Rejected {
            stream: append.stream.clone(),
            reason: reason.to_owned(),
        };
        if append.events.is_empty() {
            return Err(reject("an append needs at least one event"));
        }
        let mut metadata = Vec::with_capacity(append.events.len());
        let mut bytes = 0;
        for event in &append.events {
            let mut map = event.metadata.clone();
            map.retain(|name, _| !ASSIGNED.contains(&name.as_str()));
            let map = serde_json::to_string(&map).map_err(|error| reject(&error.to_string()))?;
            if holds_nul(&map) || holds_nul(event.payload.get()) {
                return Err(reject("text holds a NUL character"));
            }
            bytes += map.len() + event.payload.get().len();
            metadata.push(map);
        }
        let slot = Slot::of(append.stream.tenant());
        Ok(Self {
            append,
            slot,
            decided,
            metadata,
            bytes,
        })
    }
}

/// Whether a JSON text holds the escape of NUL. An escaped backslash before `u0000` is not one.
fn holds_nul(json: &str) -> bool {
    let bytes = json.as_bytes();
    json.match_indices("\\u0000").any(|(at, _)| {
        let backslashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        backslashes % 2 == 0
    })
}

/// What became of one append of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Committed(Committed),
    Conflict,
    NotOwned,
}

/// The arguments of `append_events`, one entry per event.
#[derive(Default)]
struct Arrays<'a> {
    append: Vec<i32>,
    slot: Vec<i16>,
    tenant: Vec<&'a str>,
    kind: Vec<&'static str>,
    id: Vec<&'a str>,
    expected: Vec<i64>,
    establishment: Vec<Option<&'a str>>,
    date: Vec<Option<NaiveDate>>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    event_version: Vec<&'a str>,
    payload: Vec<&'a str>,
    metadata: Vec<&'a str>,
}

impl<'a> Arrays<'a> {
    fn push(&mut self, index: i32, prepared: &'a Prepared) {
        let append = &prepared.append;
        for (nth, (event, metadata)) in append.events.iter().zip(&prepared.metadata).enumerate() {
            let numbering = append.numbering.as_ref().filter(|_| nth == 0);
            self.append.push(index);
            self.slot.push(prepared.slot.as_i16());
            self.tenant.push(append.stream.tenant().as_str());
            self.kind.push(append.stream.kind().as_str());
            self.id.push(append.stream.aggregate_id());
            self.expected.push(append.expected.0);
            self.establishment
                .push(numbering.map(|numbering| numbering.establishment_id.as_str()));
            self.date.push(numbering.map(|numbering| numbering.business_date.0));
            self.event_id.push(event.event_id.0);
            self.event_type.push(&event.event_type);
            self.event_version.push(&event.event_version);
            self.payload.push(event.payload.get());
            self.metadata.push(metadata);
        }
    }
}

/// One row of the answer, which has one row per event.
#[derive(sqlx::FromRow)]
struct Row {
    append: i32,
    outcome: String,
    sequence: Option<i64>,
    position: Option<i64>,
    slot_position: Option<i64>,
    incarnation: Option<i32>,
    recorded_at: Option<DateTime<Utc>>,
    number: Option<i64>,
}

/// Sends a batch. One outcome per append, in order.
///
/// The answer's rows arrive *before* the transaction commits: the server sends them when the
/// function returns, makes the commit durable, and only then says that it is ready for the next
/// query. So the answer counts only once the whole query is over. `fetch_all` reads up to that
/// ReadyForQuery, and a commit that fails reaches us as its error; `fetch_one` would return at the
/// first row and acknowledge what a crash could still take back.
pub(crate) async fn send(
    connection: &mut PgConnection,
    shard: ShardId,
    batch: &[&Prepared],
) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut arrays = Arrays::default();
    for (index, prepared) in (0_i32..).zip(batch) {
        arrays.push(index, prepared);
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT append, outcome, sequence, position, slot_position, incarnation, recorded_at, number \
         FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(arrays.append)
    .bind(arrays.slot)
    .bind(arrays.tenant)
    .bind(arrays.kind)
    .bind(arrays.id)
    .bind(arrays.expected)
    .bind(arrays.establishment)
    .bind(arrays.date)
    .bind(arrays.event_id)
    .bind(arrays.event_type)
    .bind(arrays.event_version)
    .bind(arrays.payload)
    .bind(arrays.metadata)
    .fetch_all(connection)
    .await?;
    outcomes(shard, batch, &rows)
}

fn outcomes(shard: ShardId, batch: &[&Prepared], rows: &[Row]) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut rows = rows;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (index, prepared) in (0_i32..).zip(batch) {
        let count = rows.iter().take_while(|row| row.append == index).count();
        let (mine, rest) = rows.split_at(count);
        rows = rest;
        let complete = mine.len() == prepared.append.events.len();
        let outcome = mine
            .first()
            .filter(|_| complete)
            .and_then(|row| outcome(shard, prepared.slot, row, mine));
        outcomes.push(outcome.ok_or_else(|| {
            sqlx::Error::Protocol(format!(
                "append_events answered unintelligibly for append {index} of the batch"
            ))
        })?);
    }
    Ok(outcomes)
}

fn outcome(shard: ShardId, slot: Slot, first: &Row, rows: &[Row]) -> Option<Outcome> {
    match first.outcome.as_str() {
        "conflict" => Some(Outcome::Conflict),
        "not_owned" => Some(Outcome::NotOwned),
        kind @ ("accepted" | "already_committed") => Some(Outcome::Committed(Committed {
            already_committed: kind == "already_committed",
            shard,
            slot,
            incarnation: Incarnation(first.incarnation?),
            number: first.number.map(OrderNumber),
            events: rows.iter().map(placed).collect::<Option<_>>()?,
        })),
        _ => None,
    }
}

fn placed(row: &Row) -> Option<Placed> {
    Some(Placed {
        sequence: Sequence(row.sequence?),
        position: Position(row.position?),
        slot_position: SlotPosition(row.slot_position?),
        recorded_at: Timestamp::new(row.recorded_at?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_nul_escape_counts() {
        assert!(holds_nul(r#"{"a":"x\u0000y"}"#));
        assert!(holds_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!holds_nul(r#"{"a":"x\\u0000y"}"#));
        assert!(!holds_nul(r#"{"a":"\u0001"}"#));
    }
}
