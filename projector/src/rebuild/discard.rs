//! Dropping a generation.
//!
//! Guarantee: no query loses its tables under it. A query keeps a generation for as long as it was
//! resolved and the query runs; both are bounded, and the bound is what the caller gives. So the
//! generation is first taken from those that can be resolved, then the standbys have to know, then
//! that long nothing happens, whether it was ever served or not, since a request may name any; and then
//! the tables go. A crash leaves it `dropping`: drop it again.

use std::time::Duration;

use sqlx::{Acquire, PgPool};
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::generation;

/// How long standbys may take to replay.
const STANDBYS: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Attempts at locks that projectors' last batches hold.
const ATTEMPTS: u32 = 5;

/// Frees a generation that is not served. `readers` is how long a query may hold on to a generation
/// at most, from resolving it to its last row.
///
/// # Errors
/// [`Error::Served`], [`Error::NoGeneration`], [`Error::RebuildRunning`]: nothing was changed.
/// [`Error::StandbysBehind`], [`Error::InUse`]: try again.
pub async fn drop(read_store: &PgPool, read_model: &str, generation: i32, readers: Duration) -> Result<(), Error> {
    let schema = mark(read_store, read_model, generation).await?;
    if !readers.is_zero() {
        standbys_know(read_store).await?;
        sleep(readers).await;
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        match remove(read_store, read_model, generation, &schema).await {
            Ok(()) => return Ok(()),
            Err(sqlx::Error::Database(error)) if is_in_use(error.code().as_deref()) => {
                if attempts == ATTEMPTS {
                    return Err(Error::InUse {
                        read_model: read_model.to_owned(),
                        generation,
                    });
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Deadlock, or a lock not got in time.
fn is_in_use(code: Option<&str>) -> bool {
    matches!(code, Some("40P01" | "55P03"))
}

/// Takes it from those that can be resolved. Gives its schema.
async fn mark(read_store: &PgPool, read_model: &str, generation: i32) -> Result<String, Error> {
    let mut connection = read_store.acquire().await?;
    let mut transaction = connection.begin().await?;
    generation::lock(&mut transaction).await?;
    let row: Option<(String, bool, Option<String>)> = sqlx::query_as(
        "SELECT g.schema_name, m.generation IS NOT NULL,
                CASE WHEN r.lease_until > clock_timestamp() THEN r.holder END
           FROM meta.generations AS g
           LEFT JOIN meta.read_models AS m USING (read_model, generation)
           LEFT JOIN meta.rebuilds AS r
             ON r.read_model = g.read_model AND r.generation = g.generation AND r.state IN ('filling', 'verifying')
          WHERE g.read_model = $1 AND g.generation = $2",
    )
    .bind(read_model)
    .bind(generation)
    .fetch_optional(&mut *transaction)
    .await?;
    let read_model = read_model.to_owned();
    let Some((schema, served, holder)) = row else {
        return Err(Error::NoGeneration { read_model, generation });
    };
    if served {
        return Err(Error::Served { read_model, generation });
    }
    if let Some(holder) = holder {
        return Err(Error::RebuildRunning {
            read_model,
            generation,
            holder,
        });
    }
    sqlx::query("UPDATE meta.generations SET state = 'dropping' WHERE read_model = $1 AND generation = $2")
        .bind(&read_model)
        .bind(generation)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(schema)
}

/// Waits until every standby that is connected has replayed what was written up to now. One that is
/// away and comes back meets the drop, and sends its queries elsewhere.
async fn standbys_know(read_store: &PgPool) -> Result<(), Error> {
    let give_up = Instant::now() + STANDBYS;
    let written: String = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text")
        .fetch_one(read_store)
        .await?;
    loop {
        let behind: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn < $1::pg_lsn)",
        )
        .bind(&written)
        .fetch_one(read_store)
        .await?;
        if !behind {
            return Ok(());
        }
        if Instant::now() > give_up {
            let seconds = STANDBYS.as_secs();
            return Err(Error::StandbysBehind { seconds });
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn remove(read_store: &PgPool, read_model: &str, generation: i32, schema: &str) -> Result<(), sqlx::Error> {
    let mut transaction = read_store.begin().await?;
    sqlx::query("SET LOCAL lock_timeout = '5s'")
        .execute(&mut *transaction)
        .await?;
    // Checkpoints first, as projectors do: whoever comes later finds none, and writes nothing.
    for table in ["checkpoints", "parked_events", "parked_streams", "rebuilds"] {
        sqlx::query(&format!(
            "DELETE FROM meta.{table} WHERE read_model = $1 AND generation = $2"
        ))
        .bind(read_model)
        .bind(generation)
        .execute(&mut *transaction)
        .await?;
    }
    sqlx::query(
        "WITH gone AS (DELETE FROM meta.generations WHERE read_model = $1 AND generation = $2 RETURNING *)
         INSERT INTO meta.dropped_generations (read_model, generation) SELECT read_model, generation FROM gone
         ON CONFLICT DO NOTHING",
    )
    .bind(read_model)
    .bind(generation)
    .execute(&mut *transaction)
    .await?;
    // From the table of generations, which only names that are plain get into.
    sqlx::query(&format!(
        "DROP SCHEMA IF EXISTS \"{}\" CASCADE",
        schema.replace('"', "\"\"")
    ))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
