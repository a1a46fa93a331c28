//! Giving up what waits behind a parked stream.
//!
//! The stream is out of that generation until the read model is rebuilt: its rows stay as of the last
//! event that was applied, it stays among the parked streams, so that queries go on saying so, and later
//! events pass it by. Nothing in the log is touched, so a new generation tries all of it again.

use domain::StreamId;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder};

use super::Selection;
use super::list::{push, stored_stream};
use crate::error::Error;

/// A stream that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub read_model: String,
    pub generation: i32,
    pub stream: StreamId,
    /// How many events waited; their effect is missing from the rows from now on.
    pub events: u64,
}

type Row = (String, i32, String, String, i32);

/// Gives up what waits behind the selected streams, in every generation where they are parked. Safe
/// beside running projectors: it holds the slot's checkpoint while it writes, as they do, one stream at
/// a time. Streams that were given up before are left out.
///
/// # Errors
/// Where the read store does not answer. What was given up before stays so.
pub async fn drop(read_store: &PgPool, selection: &Selection) -> Result<Vec<Dropped>, Error> {
    let mut dropped = vec![];
    for row in candidates(read_store, selection).await? {
        let mut transaction = read_store.begin().await?;
        hold_checkpoint(&mut transaction, &row).await?;
        if !mark(&mut transaction, &row).await? {
            // Retried, or given up, by somebody else in the meantime.
            continue;
        }
        let events = forget_events(&mut transaction, &row).await?;
        transaction.commit().await?;
        let (read_model, generation, kind, id, _) = row;
        dropped.push(Dropped {
            read_model,
            generation,
            stream: stored_stream(&kind, &id)?,
            events,
        });
    }
    Ok(dropped)
}

async fn candidates(read_store: &PgPool, selection: &Selection) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT s.read_model, s.generation, s.aggregate_type, s.aggregate_id, s.slot FROM meta.parked_streams AS s
          WHERE s.dropped_at IS NULL",
    );
    push(&mut query, selection);
    query.push(" ORDER BY s.read_model, s.generation, s.aggregate_type, s.aggregate_id");
    query.build_query_as().fetch_all(read_store).await
}

async fn hold_checkpoint(
    connection: &mut PgConnection,
    (read_model, generation, _, _, slot): &Row,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT FROM meta.checkpoints WHERE read_model = $1 AND generation = $2 AND slot = $3 FOR UPDATE")
        .bind(read_model)
        .bind(generation)
        .bind(slot)
        .execute(connection)
        .await?;
    Ok(())
}

async fn mark(connection: &mut PgConnection, (read_model, generation, kind, id, _): &Row) -> Result<bool, sqlx::Error> {
    let marked = sqlx::query(
        "UPDATE meta.parked_streams SET dropped_at = now()
          WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4
            AND dropped_at IS NULL",
    )
    .bind(read_model)
    .bind(generation)
    .bind(kind)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(marked.rows_affected() == 1)
}

async fn forget_events(
    connection: &mut PgConnection,
    (read_model, generation, kind, id, _): &Row,
) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM meta.parked_events
          WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4",
    )
    .bind(read_model)
    .bind(generation)
    .bind(kind)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(gone.rows_affected())
}
