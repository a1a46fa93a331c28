//! Streams that a read model cannot fold.
//!
//! Guarantee: a poison event stops its own stream in its own read model and nothing else; at any
//! moment the events applied and the events parked are together all events up to the checkpoint,
//! and a parked stream's rows are its fold up to the event before the first parked one. Parking
//! happens in the transaction that moves the checkpoint past the events, so a crash changes
//! nothing of this.
//!
//! An operator may [`drop`] what waits behind a stream. It is then out of that generation: its row in
//! `meta.parked_streams` stays, so that queries go on saying it, and events pass it by unlisted.

mod drop;
mod list;
mod retry;
mod selection;
mod show;

use std::collections::{BTreeMap, HashSet};

use event_store::Slot;
use sqlx::PgConnection;

pub use drop::{Dropped, drop};
pub use list::{ParkedStream, list};
pub use retry::{Retried, retry, retry_selected};
pub use selection::Selection;
pub use show::{Content, ParkedEvent, Shown, show};

use crate::checkpoint::ModelIndex;
use crate::generation::Generation;
use crate::model::{Incoming, Stretch};

/// The longest error text that is kept.
const MAX_ERROR_CHARS: usize = 1_000;

/// A stream as the database names it: aggregate type and id.
pub(crate) type StreamKey = (String, String);

/// Which of these streams are parked.
pub(crate) async fn among(
    connection: &mut PgConnection,
    generation: &Generation,
    stretches: &[Stretch<'_>],
) -> Result<HashSet<StreamKey>, sqlx::Error> {
    let rows: Vec<StreamKey> = sqlx::query_as(
        "SELECT p.aggregate_type, p.aggregate_id
           FROM unnest($3::text[], $4::text[]) AS s (aggregate_type, aggregate_id)
           JOIN meta.parked_streams AS p USING (aggregate_type, aggregate_id)
          WHERE p.read_model = $1 AND p.generation = $2",
    )
    .bind(generation.read_model)
    .bind(generation.number)
    .bind(
        stretches
            .iter()
            .map(|stretch| stretch.stream.kind().as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        stretches
            .iter()
            .map(|stretch| stretch.stream.aggregate_id())
            .collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().collect())
}

pub(crate) fn key_of(stretch: &Stretch<'_>) -> StreamKey {
    (
        stretch.stream.kind().as_str().to_owned(),
        stretch.stream.aggregate_id().to_owned(),
    )
}

/// Text that PostgreSQL can keep, and an operator read.
pub(crate) fn readable(error: &str) -> String {
    error
        .chars()
        .map(|char| if char == '\0' { '\u{fffd}' } else { char })
        .take(MAX_ERROR_CHARS)
        .collect()
}

/// What a batch parks, gathered to be written at its end.
#[derive(Default)]
pub(crate) struct Parking {
    streams: Streams,
    events: Events,
    /// Newly parked streams by checkpoint.
    counts: BTreeMap<(ModelIndex, Slot), i64>,
}

#[derive(Default)]
struct Streams {
    read_model: Vec<&'static str>,
    generation: Vec<i32>,
    tenant_id: Vec<String>,
    aggregate_type: Vec<&'static str>,
    aggregate_id: Vec<String>,
    slot: Vec<i32>,
    first_sequence: Vec<i64>,
    error: Vec<String>,
}

#[derive(Default)]
struct Events {
    read_model: Vec<&'static str>,
    generation: Vec<i32>,
    aggregate_type: Vec<&'static str>,
    aggregate_id: Vec<String>,
    sequence: Vec<i64>,
    slot: Vec<i32>,
    slot_position: Vec<i64>,
}

impl Parking {
    /// Parks a stream from its `from`th event of the stretch on.
    pub(crate) fn park(
        &mut self,
        (model, generation): (ModelIndex, &Generation),
        stretch: &Stretch<'_>,
        from: usize,
        error: &str,
    ) {
        let Some(first) = stretch.events.get(from) else { return };
        let first_sequence = first.recorded.sequence;
        tracing::error!(
            read_model = generation.read_model,
            stream = %stretch.stream,
            sequence = first_sequence.0,
            error,
            "an event cannot be applied; its stream is parked"
        );
        let streams = &mut self.streams;
        streams.read_model.push(generation.read_model);
        streams.generation.push(generation.number);
        streams.tenant_id.push(stretch.stream.tenant().to_string());
        streams.aggregate_type.push(stretch.stream.kind().as_str());
        streams.aggregate_id.push(stretch.stream.aggregate_id().to_owned());
        streams.slot.push(i32::from(stretch.slot.0));
        streams.first_sequence.push(first_sequence.0);
        streams.error.push(readable(error));
        *self.counts.entry((model, stretch.slot)).or_default() += 1;
        self.line_up(generation, stretch, from);
    }

    /// Puts events of a parked stream behind those already parked.
    pub(crate) fn line_up(&mut self, generation: &Generation, stretch: &Stretch<'_>, from: usize) {
        for Incoming { recorded, .. } in stretch.events.iter().skip(from) {
            let events = &mut self.events;
            events.read_model.push(generation.read_model);
            events.generation.push(generation.number);
            events.aggregate_type.push(stretch.stream.kind().as_str());
            events.aggregate_id.push(stretch.stream.aggregate_id().to_owned());
            events.sequence.push(recorded.sequence.0);
            events.slot.push(i32::from(stretch.slot.0));
            events.slot_position.push(recorded.slot_position.0);
        }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.slot.len()
    }

    pub(crate) async fn write(
        &self,
        connection: &mut PgConnection,
        generations: &[Generation],
    ) -> Result<(), sqlx::Error> {
        if !self.streams.slot.is_empty() {
            self.streams.write(connection).await?;
        }
        if !self.events.slot.is_empty() {
            self.events.write(connection).await?;
        }
        for ((model, slot), count) in &self.counts {
            count_parked(connection, &generations[*model], *slot, *count).await?;
        }
        Ok(())
    }
}

/// Changes how many streams of a slot are parked. The caller holds the checkpoint.
async fn count_parked(
    connection: &mut PgConnection,
    generation: &Generation,
    slot: Slot,
    by: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE meta.checkpoints SET parked = parked + $4 WHERE read_model = $1 AND generation = $2 AND slot = $3",
    )
    .bind(generation.read_model)
    .bind(generation.number)
    .bind(i32::from(slot.0))
    .bind(by)
    .execute(connection)
    .await?;
    Ok(())
}

impl Streams {
    async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO meta.parked_streams
                (read_model, generation, tenant_id, aggregate_type, aggregate_id, slot, first_sequence, error)
             SELECT * FROM unnest(
                 $1::text[], $2::int[], $3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::text[])
             ON CONFLICT DO NOTHING",
        )
        .bind(&self.read_model)
        .bind(&self.generation)
        .bind(&self.tenant_id)
        .bind(&self.aggregate_type)
        .bind(&self.aggregate_id)
        .bind(&self.slot)
        .bind(&self.first_sequence)
        .bind(&self.error)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Events {
    /// Streams that were given up are passed by: what waits for nothing need not be listed.
    async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO meta.parked_events
                (read_model, generation, aggregate_type, aggregate_id, sequence, slot, slot_position)
             SELECT * FROM unnest(
                 $1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::int[], $7::bigint[])
                 AS e (read_model, generation, aggregate_type, aggregate_id, sequence, slot, slot_position)
              WHERE NOT EXISTS (
                 SELECT FROM meta.parked_streams AS s
                  WHERE s.read_model = e.read_model AND s.generation = e.generation
                    AND s.aggregate_type = e.aggregate_type AND s.aggregate_id = e.aggregate_id
                    AND s.dropped_at IS NOT NULL)
             ON CONFLICT DO NOTHING",
        )
        .bind(&self.read_model)
        .bind(&self.generation)
        .bind(&self.aggregate_type)
        .bind(&self.aggregate_id)
        .bind(&self.sequence)
        .bind(&self.slot)
        .bind(&self.slot_position)
        .execute(connection)
        .await?;
        Ok(())
    }
}
