//! Finding the event at fault: one event at a time, each in a savepoint.
//!
//! A set-based write that PostgreSQL refuses says only that some row of it is wrong. This is slow,
//! and needed only after such a refusal and when parked streams are retried.

use sqlx::{Acquire, PgConnection};

use crate::model::{Poison, ReadModel, Stretch};
use crate::projection::{Schema, WriteError};

/// Applies each stretch as far as it can be, and says where it could not.
pub(crate) async fn apply_one_by_one(
    model: &mut dyn ReadModel,
    connection: &mut PgConnection,
    schema: &Schema,
    stretches: &[Stretch<'_>],
) -> Result<Vec<Poison>, sqlx::Error> {
    let mut poisons = vec![];
    for (index, stretch) in stretches.iter().enumerate() {
        for (nth, event) in stretch.events.iter().enumerate() {
            let single = Stretch { stream: stretch.stream, slot: stretch.slot, events: vec![event] };
            if let Some(error) = apply_single(model, connection, schema, single).await? {
                poisons.push(Poison { stretch: index, event: nth, error });
                break;
            }
        }
    }
    for poison in &poisons {
        // A parked stream's rows change behind the projector's back when it is retried.
        model.forget_stream(stretches[poison.stretch].stream);
    }
    Ok(poisons)
}

/// Why the event cannot be applied; `None` where it was.
async fn apply_single(
    model: &mut dyn ReadModel,
    connection: &mut PgConnection,
    schema: &Schema,
    single: Stretch<'_>,
) -> Result<Option<String>, sqlx::Error> {
    let mut savepoint = connection.begin().await?;
    let error = match model.apply(&mut savepoint, schema, std::slice::from_ref(&single)).await {
        Ok(poisons) => poisons.into_iter().next().map(|poison| poison.error),
        Err(error) if error.blames_rows() => Some(error.reason()),
        Err(WriteError::Database(error)) => return Err(error),
        Err(WriteError::Contradiction(why)) => Some(why.to_owned()),
    };
    match &error {
        None => savepoint.commit().await?,
        Some(_) => savepoint.rollback().await?,
    }
    Ok(error)
}
