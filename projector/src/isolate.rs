//! Applying everything but the events at fault.
//!
//! A set-based write that PostgreSQL refuses says only that some row of it is wrong. The set is
//! halved, each half in a savepoint, until a refused half is a single stream, whose events are then
//! tried one at a time. One bad event among thousands costs a few dozen statements, so a tenant
//! cannot slow the others down by having them.

use std::ops::Range;

use sqlx::{Acquire, PgConnection};

use crate::model::{Poison, ReadModel, Stretch};
use crate::projection::{Schema, WriteError};

/// Applies each stretch as far as it can be, and says where it could not.
pub(crate) async fn apply_around_poison(
    model: &mut dyn ReadModel,
    connection: &mut PgConnection,
    schema: &Schema,
    stretches: &[Stretch<'_>],
) -> Result<Vec<Poison>, sqlx::Error> {
    let mut poisons = vec![];
    let mut open: Vec<Range<usize>> = std::iter::once(0..stretches.len()).collect();
    while let Some(part) = open.pop() {
        match apply_part(model, connection, schema, &stretches[part.clone()]).await? {
            Ok(found) => poisons.extend(found.into_iter().map(|poison| Poison {
                stretch: part.start + poison.stretch,
                ..poison
            })),
            Err(_) if part.len() > 1 => {
                let middle = part.start + part.len() / 2;
                open.push(middle..part.end);
                open.push(part.start..middle);
            }
            Err(_) => poisons.extend(apply_events(model, connection, schema, part.start, &stretches[part]).await?),
        }
    }
    for poison in &poisons {
        // A parked stream's rows change behind the projector's back when it is retried.
        model.forget_stream(stretches[poison.stretch].stream);
    }
    Ok(poisons)
}

/// Applies one stretch event by event, as far as it goes.
async fn apply_events(
    model: &mut dyn ReadModel,
    connection: &mut PgConnection,
    schema: &Schema,
    index: usize,
    stretches: &[Stretch<'_>],
) -> Result<Option<Poison>, sqlx::Error> {
    for stretch in stretches {
        for (nth, event) in stretch.events.iter().enumerate() {
            let single = Stretch {
                stream: stretch.stream,
                slot: stretch.slot,
                events: vec![event],
            };
            let error = match apply_part(model, connection, schema, std::slice::from_ref(&single)).await? {
                Ok(poisons) => poisons.into_iter().next().map(|poison| poison.error),
                Err(refused) => Some(refused),
            };
            if let Some(error) = error {
                return Ok(Some(Poison {
                    stretch: index,
                    event: nth,
                    error,
                }));
            }
        }
    }
    Ok(None)
}

/// Applies stretches whole or not at all; the inner error is why their rows were refused.
async fn apply_part(
    model: &mut dyn ReadModel,
    connection: &mut PgConnection,
    schema: &Schema,
    stretches: &[Stretch<'_>],
) -> Result<Result<Vec<Poison>, String>, sqlx::Error> {
    let mut savepoint = connection.begin().await?;
    match model.apply(&mut savepoint, schema, stretches).await {
        Ok(poisons) => {
            savepoint.commit().await?;
            Ok(Ok(poisons))
        }
        Err(error) if error.blames_rows() => {
            savepoint.rollback().await?;
            Ok(Err(error.reason()))
        }
        Err(WriteError::Database(error)) => Err(error),
        Err(WriteError::Contradiction(why)) => {
            savepoint.rollback().await?;
            Ok(Err(why.to_owned()))
        }
    }
}
