//! Running parked streams through today's code.

use domain::{DecodeError, StreamId};
use event_store::{RecordedEvent, Slot, SlotPosition};
use sqlx::{PgConnection, PgPool};

use super::{Selection, count_parked, readable};
use crate::error::Error;
use crate::feed::Log;
use crate::generation::{self, Generation};
use crate::isolate::apply_around_poison;
use crate::model::{Incoming, ReadModel, Registered, Stretch};

/// Events of one stream retried in one transaction; also bounds the memory that a retry takes.
const PAGE: usize = 200;

/// What a retry came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Streams that are parked no longer.
    pub freed_streams: usize,
    /// Streams whose next event still cannot be applied.
    pub still_parked: usize,
    pub applied_events: usize,
}

/// Retries parked streams, of one read model or of all.
///
/// # Errors
/// As [`retry_selected`].
pub async fn retry<L: Log>(
    read_store: &PgPool,
    log: &L,
    models: &[Registered],
    only: Option<&str>,
) -> Result<Retried, Error> {
    let selection = Selection {
        read_model: only.map(str::to_owned),
        ..Selection::default()
    };
    retry_selected(read_store, log, models, &selection).await
}

/// Retries the parked streams that are selected, in every generation that projectors feed, each in
/// order and as far as it goes. Safe beside running projectors: it holds the slot's checkpoint while it
/// writes, as they do. Streams that were given up are left alone.
///
/// # Errors
/// [`Error::OtherCodeVersion`] where a selected read model is only there as another version's, which
/// that one has to retry; else where the read store or the log does not answer. What was committed
/// before stays.
pub async fn retry_selected<L: Log>(
    read_store: &PgPool,
    log: &L,
    models: &[Registered],
    selection: &Selection,
) -> Result<Retried, Error> {
    let standing = {
        let mut connection = read_store.acquire().await?;
        generation::look(&mut connection, models).await?
    };
    let refused = standing.refused.into_iter().find(|it| selection.names(it.read_model));
    if let Some(refused) = refused {
        return Err(refused.into());
    }
    let mut total = Retried::default();
    for fed in standing.fed.iter().filter(|fed| selection.covers(&fed.generation)) {
        let mut model = fed.model.instance();
        retry_model(read_store, log, model.as_mut(), &fed.generation, selection, &mut total).await?;
    }
    Ok(total)
}

/// A parked stream, as stored.
type ParkedRow = (String, String, i32);

async fn retry_model<L: Log>(
    read_store: &PgPool,
    log: &L,
    model: &mut dyn ReadModel,
    generation: &Generation,
    selection: &Selection,
    total: &mut Retried,
) -> Result<(), Error> {
    let mut after = (String::new(), String::new());
    loop {
        let rows: Vec<ParkedRow> = sqlx::query_as(
            "SELECT aggregate_type, aggregate_id, slot FROM meta.parked_streams
              WHERE read_model = $1 AND generation = $2 AND (aggregate_type, aggregate_id) > ($3, $4)
                AND dropped_at IS NULL AND ($6::text IS NULL OR tenant_id = $6)
                AND ($7::text IS NULL OR $7 IN (aggregate_id, aggregate_type || ':' || aggregate_id,
                                                split_part(aggregate_id, '/', 2)))
              ORDER BY aggregate_type, aggregate_id LIMIT $5",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(&after.0)
        .bind(&after.1)
        .bind(PAGE as i64)
        .bind(selection.tenant_text())
        .bind(&selection.stream)
        .fetch_all(read_store)
        .await?;
        let Some((kind, id, _)) = rows.last() else {
            return Ok(());
        };
        after = (kind.clone(), id.clone());
        for (aggregate_type, aggregate_id, slot) in rows {
            let Some(stream) = StreamId::from_stored(&aggregate_type, &aggregate_id) else {
                tracing::error!(
                    aggregate_type,
                    aggregate_id,
                    "a parked stream has a name that no stream has"
                );
                total.still_parked += 1;
                continue;
            };
            let parked = ParkedStream {
                stream,
                slot: crate::checkpoint::slot_of(slot)?,
            };
            if parked.retry(read_store, log, model, generation, total).await? {
                total.freed_streams += 1;
            } else {
                total.still_parked += 1;
            }
        }
    }
}

struct ParkedStream {
    stream: StreamId,
    slot: Slot,
}

/// How far one page of a stream got.
enum Page {
    /// There is more.
    Applied(usize),
    Freed(usize),
    StillParked(usize),
}

impl ParkedStream {
    /// Whether the stream was freed.
    async fn retry<L: Log>(
        &self,
        read_store: &PgPool,
        log: &L,
        model: &mut dyn ReadModel,
        generation: &Generation,
        total: &mut Retried,
    ) -> Result<bool, Error> {
        loop {
            // Read before the checkpoint is held: the log may be slow, and a projector may wait.
            let waiting = {
                let mut connection = read_store.acquire().await?;
                self.waiting(&mut connection, generation).await?
            };
            let events = self.read(log, &waiting).await?;
            let mut transaction = read_store.begin().await?;
            let page = self.apply(&mut transaction, model, generation, &waiting, &events).await;
            match page {
                Ok(page) => {
                    transaction.commit().await?;
                    model.rolled_back();
                    let (applied, freed) = match page {
                        Page::Applied(applied) => (applied, None),
                        Page::Freed(applied) => (applied, Some(true)),
                        Page::StillParked(applied) => (applied, Some(false)),
                    };
                    total.applied_events += applied;
                    if let Some(freed) = freed {
                        return Ok(freed);
                    }
                }
                Err(error) => {
                    model.rolled_back();
                    return Err(error);
                }
            }
        }
    }

    /// The first events that wait, in order: sequence and slot position.
    async fn waiting(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
    ) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        sqlx::query_as(
            "SELECT sequence, slot_position FROM meta.parked_events
              WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4
              ORDER BY sequence LIMIT $5",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(self.stream.kind().as_str())
        .bind(self.stream.aggregate_id())
        .bind(PAGE as i64)
        .fetch_all(connection)
        .await
    }

    /// The events behind the references, decoded by today's code.
    async fn read<L: Log>(&self, log: &L, waiting: &[(i64, i64)]) -> Result<Vec<Incoming>, Error> {
        let mut events = Vec::with_capacity(waiting.len());
        for (_, slot_position) in waiting {
            let found = log.read_slot(self.slot, SlotPosition(slot_position - 1), 1).await?;
            let Some(recorded) = found.into_iter().find(|event| self.is(event, *slot_position)) else {
                break;
            };
            let content = recorded.decode().map_err(|error| match error {
                error @ (DecodeError::Newer { .. } | DecodeError::Malformed { .. }) => error.to_string(),
            });
            events.push(Incoming { recorded, content });
        }
        Ok(events)
    }

    fn is(&self, event: &RecordedEvent, slot_position: i64) -> bool {
        event.slot_position.0 == slot_position && event.stream == self.stream
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        model: &mut dyn ReadModel,
        generation: &Generation,
        waiting: &[(i64, i64)],
        events: &[Incoming],
    ) -> Result<Page, Error> {
        self.hold_checkpoint(connection, generation).await?;
        if !self.is_parked(connection, generation).await? {
            return Ok(Page::Freed(0));
        }
        // Another retry may have come first; then look again.
        let now = self.waiting(connection, generation).await?;
        if !now.starts_with(waiting) {
            return Ok(Page::Applied(0));
        }
        let stretch = Stretch {
            stream: &self.stream,
            slot: self.slot,
            events: events.iter().collect(),
        };
        let poisons = apply_around_poison(model, connection, &generation.schema, &[stretch]).await?;
        let poison = poisons.into_iter().next();
        let applied = poison.as_ref().map_or(events.len(), |poison| poison.event);
        self.take_off(connection, generation, &waiting[..applied]).await?;
        let error = match poison {
            Some(poison) => Some(poison.error),
            None if events.len() < waiting.len() => Some("the log does not have the event".to_owned()),
            None => None,
        };
        let next = self
            .waiting(connection, generation)
            .await?
            .first()
            .map(|(sequence, _)| *sequence);
        match (next, error) {
            (Some(next), error) => {
                self.stand_at(connection, generation, next, error.as_deref()).await?;
                Ok(if error.is_some() {
                    Page::StillParked(applied)
                } else {
                    Page::Applied(applied)
                })
            }
            (None, _) => {
                self.free(connection, generation).await?;
                Ok(Page::Freed(applied))
            }
        }
    }

    /// Keeps projectors from the slot until the transaction ends.
    async fn hold_checkpoint(&self, connection: &mut PgConnection, generation: &Generation) -> Result<(), Error> {
        let held: Option<i32> = sqlx::query_scalar(
            "SELECT slot FROM meta.checkpoints WHERE read_model = $1 AND generation = $2 AND slot = $3 FOR UPDATE",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(i32::from(self.slot.0))
        .fetch_optional(connection)
        .await?;
        let missing = Error::NoCheckpoint {
            read_model: generation.read_model,
            slot: self.slot,
        };
        held.map(|_| ()).ok_or(missing)
    }

    async fn is_parked(&self, connection: &mut PgConnection, generation: &Generation) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM meta.parked_streams
              WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4
                AND dropped_at IS NULL)",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(self.stream.kind().as_str())
        .bind(self.stream.aggregate_id())
        .fetch_one(connection)
        .await
    }

    async fn take_off(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        applied: &[(i64, i64)],
    ) -> Result<(), sqlx::Error> {
        let Some((last, _)) = applied.last() else { return Ok(()) };
        sqlx::query(
            "DELETE FROM meta.parked_events
              WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4
                AND sequence <= $5",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(self.stream.kind().as_str())
        .bind(self.stream.aggregate_id())
        .bind(last)
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn stand_at(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
        next_sequence: i64,
        error: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE meta.parked_streams SET first_sequence = $5, error = coalesce($6, error)
              WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(self.stream.kind().as_str())
        .bind(self.stream.aggregate_id())
        .bind(next_sequence)
        .bind(error.map(readable))
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn free(&self, connection: &mut PgConnection, generation: &Generation) -> Result<(), sqlx::Error> {
        sqlx::query(
            "DELETE FROM meta.parked_streams
              WHERE read_model = $1 AND generation = $2 AND aggregate_type = $3 AND aggregate_id = $4",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .bind(self.stream.kind().as_str())
        .bind(self.stream.aggregate_id())
        .execute(&mut *connection)
        .await?;
        count_parked(connection, generation, self.slot, -1).await
    }
}
