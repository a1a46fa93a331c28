//! Beginning a rebuild, or going on with one that was interrupted.
//!
//! A rebuild that is not finished belongs to whoever holds its lease. A lease that has run out is
//! taken over: whoever held it is gone, and if not, it finds out at its next renewal; until then
//! both meet at the checkpoints' compare-and-set, so nothing is written twice.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Acquire, PgConnection, PgPool};
use uuid::Uuid;

use super::{Options, interval};
use crate::error::Error;
use crate::generation::{self, Fed, Generation, State};
use crate::model::Registered;
use crate::projection::Schema;

/// How often a lease that is held is looked at again.
const WATCH: Duration = Duration::from_millis(200);
/// Renewals that one may still see of a holder that was killed: the server finishes the statement that
/// was under way.
const LATE_RENEWALS: usize = 1;

/// A rebuild that this process holds.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) lease: Uuid,
    pub(super) filling: Vec<Fed>,
    /// How many of them somebody had begun before.
    pub(super) resumed: usize,
    /// Generations given up for new ones; to be dropped.
    pub(super) abandoned: Vec<(&'static str, i32)>,
}

enum Attempt {
    Begun(Begun),
    Held(Held),
}

/// Somebody else's lease that has not run out.
struct Held {
    read_model: &'static str,
    generation: i32,
    holder: String,
    renewed: DateTime<Utc>,
}

/// Makes a generation of each read model, or takes over the unfinished one, all or none of them.
pub(super) async fn begin(
    read_store: &PgPool,
    models: &[Registered],
    as_of: Option<&str>,
    options: &Options,
) -> Result<Begun, Error> {
    // By read model: their leases were taken one after another, and run out so.
    let mut seen: BTreeSet<(&str, DateTime<Utc>)> = BTreeSet::new();
    loop {
        match attempt(read_store, models, as_of, options).await? {
            Attempt::Begun(begun) => return Ok(begun),
            Attempt::Held(held) => {
                seen.insert((held.read_model, held.renewed));
                let renewals = seen.iter().filter(|(of, _)| *of == held.read_model).count();
                if renewals > LATE_RENEWALS + 1 {
                    return Err(Error::RebuildRunning {
                        read_model: held.read_model.to_owned(),
                        generation: held.generation,
                        holder: held.holder,
                    });
                }
                // Its holder may be gone: then it is not renewed again, and runs out.
                tokio::time::sleep(WATCH).await;
            }
        }
    }
}

async fn attempt(
    read_store: &PgPool,
    models: &[Registered],
    as_of: Option<&str>,
    options: &Options,
) -> Result<Attempt, Error> {
    let lease = service::edge::fresh_id();
    let mut begun = Begun {
        lease,
        filling: vec![],
        resumed: 0,
        abandoned: vec![],
    };
    let mut connection = read_store.acquire().await?;
    let mut transaction = connection.begin().await?;
    generation::lock(&mut transaction).await?;
    for model in models {
        if let Some(held) = held(&mut transaction, model, as_of).await? {
            return Ok(Attempt::Held(held));
        }
        let mut found = unfinished(&mut transaction, model, as_of).await?;
        if options.from_scratch
            && let Some(generation) = found.take()
        {
            begun.abandoned.push((model.name, generation.number));
        }
        begun.resumed += usize::from(found.is_some());
        let generation = match found {
            Some(generation) => generation,
            None => generation::create(&mut transaction, model, State::Filling).await?,
        };
        take(&mut transaction, &generation, as_of, lease, options).await?;
        begun.filling.push(Fed {
            model: model.clone(),
            generation,
        });
    }
    for (read_model, number) in &begun.abandoned {
        sqlx::query("UPDATE meta.generations SET state = 'dropping' WHERE read_model = $1 AND generation = $2")
            .bind(read_model)
            .bind(number)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(Attempt::Begun(begun))
}

/// Whoever fills a generation of the read model just now: any rebuild, or the same build.
async fn held(
    connection: &mut PgConnection,
    model: &Registered,
    as_of: Option<&str>,
) -> Result<Option<Held>, sqlx::Error> {
    let row: Option<(i32, String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT r.generation, r.holder, r.updated_at
           FROM meta.rebuilds AS r
          WHERE r.read_model = $1 AND r.as_of IS NOT DISTINCT FROM $2
            AND r.state IN ('filling', 'verifying') AND r.lease_until > clock_timestamp()
          ORDER BY r.generation DESC LIMIT 1",
    )
    .bind(model.name)
    .bind(as_of)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(generation, holder, renewed)| Held {
        read_model: model.name,
        generation,
        holder,
        renewed,
    }))
}

/// What somebody began with this code version and did not finish.
async fn unfinished(
    connection: &mut PgConnection,
    model: &Registered,
    as_of: Option<&str>,
) -> Result<Option<Generation>, Error> {
    let row: Option<(i32, String)> = sqlx::query_as(
        "SELECT r.generation, g.schema_name
           FROM meta.rebuilds AS r JOIN meta.generations AS g USING (read_model, generation)
          WHERE r.read_model = $1 AND r.as_of IS NOT DISTINCT FROM $2 AND g.code_version = $3
            AND r.state IN ('filling', 'verifying') AND g.state IN ('filling', 'live')
          ORDER BY r.generation DESC LIMIT 1",
    )
    .bind(model.name)
    .bind(as_of)
    .bind(model.code_version)
    .fetch_optional(connection)
    .await?;
    let Some((number, schema_name)) = row else {
        return Ok(None);
    };
    let schema = Schema::new(&schema_name).ok_or(Error::SchemaName { schema_name })?;
    Ok(Some(Generation {
        read_model: model.name,
        number,
        schema,
        served: false,
    }))
}

async fn take(
    connection: &mut PgConnection,
    generation: &Generation,
    as_of: Option<&str>,
    lease: Uuid,
    options: &Options,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO meta.rebuilds (read_model, generation, as_of, lease, holder, lease_until, updated_at)
         VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6, clock_timestamp())
         ON CONFLICT (read_model, generation) DO UPDATE
            SET lease = excluded.lease, holder = excluded.holder, lease_until = excluded.lease_until,
                updated_at = excluded.updated_at",
    )
    .bind(generation.read_model)
    .bind(generation.number)
    .bind(as_of)
    .bind(lease)
    .bind(&options.holder)
    .bind(interval(options.lease))
    .execute(connection)
    .await?;
    Ok(())
}
