//! Sending queries to another generation.
//!
//! Guarantee: queries read one generation or the other, whole, and what they find is never behind
//! what they found before, in any slot: the checkpoints of the served generation are held while they
//! are compared and until the pointer points elsewhere. No table is changed, so nothing conflicts
//! with queries, on standbys neither. A crash leaves the pointer where it was or where it was to be.

use sqlx::{Acquire, PgConnection, PgPool};

use crate::error::Error;
use crate::generation::{self, Generation, State};

/// Attempts at a switch that meets projectors' batches in the wrong order.
const ATTEMPTS: u32 = 5;

/// A pointer that points elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    pub read_model: String,
    /// What was served before; `None` where nothing was.
    pub from: Option<i32>,
    pub to: i32,
    /// Whether what was served before is fed on by the same code, so that rolling back is possible at
    /// any time.
    pub can_roll_back: bool,
}

/// How far a generation is behind the one that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    slots: i64,
    events: i64,
}

enum To {
    /// The newest one that is fed.
    Newest,
    Number(i32),
    /// The one that was served last.
    Previous,
    /// By the rebuild that filled it.
    Rebuilt(i32),
}

/// Sends queries to a generation; to the newest one that is fed where none is named.
///
/// # Errors
/// [`Error::Behind`], [`Error::NotSwitchable`], [`Error::NothingToSwitchTo`],
/// [`Error::NoGeneration`]: nothing was changed.
pub async fn switch(read_store: &PgPool, read_model: &str, to: Option<i32>) -> Result<Switched, Error> {
    attempt(read_store, read_model, &to.map_or(To::Newest, To::Number)).await
}

/// Sends queries back to the generation that was served before.
///
/// # Errors
/// [`Error::NothingToRollBackTo`] where none is kept, or it is not fed any more; [`Error::Behind`].
pub async fn rollback(read_store: &PgPool, read_model: &str) -> Result<Switched, Error> {
    attempt(read_store, read_model, &To::Previous).await
}

pub(super) async fn after_rebuild(read_store: &PgPool, generation: &Generation) -> Result<Switched, Error> {
    attempt(read_store, generation.read_model, &To::Rebuilt(generation.number)).await
}

async fn attempt(read_store: &PgPool, read_model: &str, to: &To) -> Result<Switched, Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match once(read_store, read_model, to).await {
            Err(Error::Database(sqlx::Error::Database(error)))
                if attempts < ATTEMPTS && error.code().as_deref() == Some("40P01") => {}
            other => return other,
        }
    }
}

async fn once(read_store: &PgPool, read_model: &str, to: &To) -> Result<Switched, Error> {
    let mut connection = read_store.acquire().await?;
    let mut transaction = connection.begin().await?;
    generation::lock(&mut transaction).await?;
    let from = served(&mut transaction, read_model).await?;
    let target = target(&mut transaction, read_model, from, to).await?;
    if from == Some(target) {
        return Ok(Switched {
            read_model: read_model.to_owned(),
            from,
            to: target,
            can_roll_back: true,
        });
    }
    let mut can_roll_back = true;
    if let Some(from) = from {
        hold(&mut transaction, read_model, from).await?;
        if let Some(behind) = compared(&mut transaction, read_model, from, target).await? {
            return Err(Error::Behind {
                read_model: read_model.to_owned(),
                generation: target,
                slots: behind.slots,
                events: behind.events,
            });
        }
        can_roll_back = leave(&mut transaction, read_model, from, target).await?;
    }
    point(&mut transaction, read_model, target).await?;
    transaction.commit().await?;
    tracing::info!(read_model, from, to = target, "switched");
    Ok(Switched {
        read_model: read_model.to_owned(),
        from,
        to: target,
        can_roll_back,
    })
}

async fn served(connection: &mut PgConnection, read_model: &str) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar("SELECT generation FROM meta.read_models WHERE read_model = $1 FOR UPDATE")
        .bind(read_model)
        .fetch_optional(connection)
        .await
}

async fn target(connection: &mut PgConnection, read_model: &str, from: Option<i32>, to: &To) -> Result<i32, Error> {
    let (number, by_rebuild) = match to {
        To::Number(number) => (*number, false),
        To::Rebuilt(number) => (*number, true),
        To::Newest => (newest(connection, read_model, from).await?, false),
        To::Previous => (previous(connection, read_model, from).await?, false),
    };
    let row: Option<(String, Option<String>)> = sqlx::query_as(
        "SELECT g.state, r.state FROM meta.generations AS g LEFT JOIN meta.rebuilds AS r USING (read_model, generation)
          WHERE g.read_model = $1 AND g.generation = $2",
    )
    .bind(read_model)
    .bind(number)
    .fetch_optional(connection)
    .await?;
    let Some((state, rebuild)) = row else {
        return Err(Error::NoGeneration {
            read_model: read_model.to_owned(),
            generation: number,
        });
    };
    let refused = |state: String| Error::NotSwitchable {
        read_model: read_model.to_owned(),
        generation: number,
        state,
    };
    if State::from_stored(&state)? != State::Live {
        return Err(refused(state));
    }
    match rebuild {
        Some(rebuild) if !by_rebuild && ["filling", "verifying"].contains(&rebuild.as_str()) => {
            Err(refused(format!("not verified yet ({rebuild})")))
        }
        _ => Ok(number),
    }
}

async fn newest(connection: &mut PgConnection, read_model: &str, from: Option<i32>) -> Result<i32, Error> {
    let newest: Option<i32> = sqlx::query_scalar(
        "SELECT max(generation) FROM meta.generations
          WHERE read_model = $1 AND state = 'live' AND generation IS DISTINCT FROM $2",
    )
    .bind(read_model)
    .bind(from)
    .fetch_one(connection)
    .await?;
    newest.ok_or_else(|| Error::NothingToSwitchTo(read_model.to_owned()))
}

async fn previous(connection: &mut PgConnection, read_model: &str, from: Option<i32>) -> Result<i32, Error> {
    let previous: Option<i32> = sqlx::query_scalar(
        "SELECT generation FROM meta.generations
          WHERE read_model = $1 AND state = 'live' AND served_until IS NOT NULL AND generation IS DISTINCT FROM $2
          ORDER BY served_until DESC LIMIT 1",
    )
    .bind(read_model)
    .bind(from)
    .fetch_optional(connection)
    .await?;
    previous.ok_or_else(|| Error::NothingToRollBackTo(read_model.to_owned()))
}

/// Keeps projectors from moving a generation until the transaction ends. In the order in which they
/// hold checkpoints themselves.
async fn hold(connection: &mut PgConnection, read_model: &str, generation: i32) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT slot FROM meta.checkpoints WHERE read_model = $1 AND generation = $2 ORDER BY slot FOR SHARE")
        .bind(read_model)
        .bind(generation)
        .execute(connection)
        .await?;
    Ok(())
}

/// How far `to` is behind `from`. A later incarnation of a slot continues what it has in common with
/// the earlier one, so it is not behind, wherever it stands.
async fn compared(
    connection: &mut PgConnection,
    read_model: &str,
    from: i32,
    to: i32,
) -> Result<Option<Behind>, sqlx::Error> {
    let (slots, events): (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(f.slot_position - coalesce(t.slot_position, 0)), 0)::bigint
           FROM meta.checkpoints AS f
           LEFT JOIN meta.checkpoints AS t
             ON t.read_model = f.read_model AND t.generation = $3 AND t.slot = f.slot
          WHERE f.read_model = $1 AND f.generation = $2 AND f.slot_position > 0
            AND (t.incarnation > f.incarnation
                 OR (t.incarnation = f.incarnation AND t.slot_position >= f.slot_position)) IS NOT TRUE",
    )
    .bind(read_model)
    .bind(from)
    .bind(to)
    .fetch_one(connection)
    .await?;
    Ok((slots > 0).then_some(Behind { slots, events }))
}

/// How far a generation is behind the served one; `None` where it is not.
pub(super) async fn behind(read_store: &PgPool, generation: &Generation) -> Result<Option<Behind>, Error> {
    let mut connection = read_store.acquire().await?;
    let served: Option<i32> = sqlx::query_scalar("SELECT generation FROM meta.read_models WHERE read_model = $1")
        .bind(generation.read_model)
        .fetch_optional(&mut *connection)
        .await?;
    match served {
        Some(served) => Ok(compared(&mut connection, generation.read_model, served, generation.number).await?),
        None => Ok(None),
    }
}

/// Notes that a generation is served no more; whether it is fed on by whoever feeds the other, which
/// those of another code version are not. One that stands in an earlier incarnation of some slot may
/// hold what that slot's log has lost, and would keep the slot from being fed to the others.
async fn leave(connection: &mut PgConnection, read_model: &str, from: i32, to: i32) -> Result<bool, sqlx::Error> {
    let (state, same_code): (String, bool) = sqlx::query_as(
        "UPDATE meta.generations AS g
            SET served_until = clock_timestamp(),
                state = CASE WHEN EXISTS (
                    SELECT FROM meta.checkpoints AS f JOIN meta.checkpoints AS t USING (read_model, slot)
                     WHERE f.read_model = $1 AND f.generation = $2 AND t.generation = $3
                       AND f.slot_position > 0 AND f.incarnation < t.incarnation)
                THEN 'retired' ELSE g.state END
          WHERE g.read_model = $1 AND g.generation = $2
         RETURNING g.state, g.code_version = (
             SELECT t.code_version FROM meta.generations AS t WHERE t.read_model = $1 AND t.generation = $3)",
    )
    .bind(read_model)
    .bind(from)
    .bind(to)
    .fetch_one(connection)
    .await?;
    Ok(same_code && State::from_stored(&state)? == State::Live)
}

async fn point(connection: &mut PgConnection, read_model: &str, to: i32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO meta.read_models (read_model, generation) VALUES ($1, $2)
         ON CONFLICT (read_model) DO UPDATE SET generation = excluded.generation",
    )
    .bind(read_model)
    .bind(to)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE meta.generations SET served_until = NULL WHERE read_model = $1 AND generation = $2")
        .bind(read_model)
        .bind(to)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE meta.rebuilds
            SET state = 'switched', switched_at = clock_timestamp(),
                verified_at = coalesce(verified_at, clock_timestamp())
          WHERE read_model = $1 AND generation = $2 AND state <> 'switched'",
    )
    .bind(read_model)
    .bind(to)
    .execute(connection)
    .await?;
    Ok(())
}

/// Has projectors feed these from now on.
pub(super) async fn make_live(read_store: &PgPool, generations: &[Generation]) -> Result<(), Error> {
    for generation in generations {
        sqlx::query(
            "UPDATE meta.generations SET state = 'live'
              WHERE read_model = $1 AND generation = $2 AND state = 'filling'",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .execute(read_store)
        .await?;
    }
    Ok(())
}

/// Has a generation that is complete stay as it is.
pub(super) async fn make_scratch(read_store: &PgPool, generation: &Generation) -> Result<(), Error> {
    let mut transaction = read_store.begin().await?;
    for sql in [
        "UPDATE meta.generations SET state = 'scratch' WHERE read_model = $1 AND generation = $2 AND state = 'filling'",
        "UPDATE meta.rebuilds SET state = 'done', filled_at = clock_timestamp()
          WHERE read_model = $1 AND generation = $2",
    ] {
        sqlx::query(sql)
            .bind(generation.read_model)
            .bind(generation.number)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}
