//! What is parked.

use std::time::Duration;

use domain::{Sequence, StreamId};
use event_store::Slot;
use sqlx::{PgPool, Postgres, QueryBuilder};

use super::Selection;
use crate::checkpoint::slot_of;
use crate::error::Error;

/// A stream that one generation of a read model could not fold on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    pub read_model: String,
    pub generation: i32,
    /// Whether queries read the generation.
    pub served: bool,
    pub stream: StreamId,
    pub slot: Slot,
    /// The event that could not be applied.
    pub first: Sequence,
    /// How many events wait, that one included; none where they were given up.
    pub waiting: i64,
    /// Why it could not, when it was last tried.
    pub error: String,
    /// Since it was parked.
    pub age: Duration,
    /// Whether what waited was given up.
    pub dropped: bool,
}

type Row = (String, i32, bool, String, String, i32, i64, i64, String, f64, bool);

/// The parked streams that are selected, by read model, generation and stream.
///
/// # Errors
/// Where the read store does not answer.
pub async fn list(read_store: &PgPool, selection: &Selection) -> Result<Vec<ParkedStream>, Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT s.read_model, s.generation, m.generation IS NOT NULL, s.aggregate_type, s.aggregate_id, s.slot,
                s.first_sequence,
                (SELECT count(*) FROM meta.parked_events AS e
                  WHERE (e.read_model, e.generation, e.aggregate_type, e.aggregate_id)
                      = (s.read_model, s.generation, s.aggregate_type, s.aggregate_id)),
                s.error, extract(epoch FROM now() - s.parked_at)::float8, s.dropped_at IS NOT NULL
           FROM meta.parked_streams AS s LEFT JOIN meta.read_models AS m USING (read_model, generation)
          WHERE true",
    );
    push(&mut query, selection);
    query.push(" ORDER BY s.read_model, s.generation, s.aggregate_type, s.aggregate_id");
    let rows: Vec<Row> = query.build_query_as().fetch_all(read_store).await?;
    rows.into_iter().map(parked_stream).collect()
}

/// Adds what the selection asks of `meta.parked_streams AS s`.
pub(super) fn push<'a>(query: &mut QueryBuilder<'a, Postgres>, selection: &'a Selection) {
    if let Some(read_model) = &selection.read_model {
        query.push(" AND s.read_model = ").push_bind(read_model);
    }
    if let Some(generation) = selection.generation {
        query.push(" AND s.generation = ").push_bind(generation);
    }
    if let Some(tenant) = &selection.tenant {
        query.push(" AND s.tenant_id = ").push_bind(tenant.as_str());
    }
    if let Some(stream) = &selection.stream {
        query.push(" AND ").push_bind(stream).push(
            " IN (s.aggregate_id, s.aggregate_type || ':' || s.aggregate_id, split_part(s.aggregate_id, '/', 2))",
        );
    }
}

/// # Errors
/// Where what is stored names no stream.
pub(super) fn stored_stream(aggregate_type: &str, aggregate_id: &str) -> Result<StreamId, sqlx::Error> {
    StreamId::from_stored(aggregate_type, aggregate_id)
        .ok_or_else(|| sqlx::Error::Decode(format!("{aggregate_type}:{aggregate_id} is not a stream").into()))
}

fn parked_stream(row: Row) -> Result<ParkedStream, Error> {
    let (read_model, generation, served, kind, id, slot, first, waiting, error, age_s, dropped) = row;
    Ok(ParkedStream {
        read_model,
        generation,
        served,
        stream: stored_stream(&kind, &id)?,
        slot: slot_of(slot)?,
        first: Sequence(first),
        waiting,
        error,
        // Clocks go back now and then.
        age: Duration::try_from_secs_f64(age_s).unwrap_or_default(),
        dropped,
    })
}
