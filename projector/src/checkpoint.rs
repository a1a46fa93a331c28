//! Slot checkpoints: how far each read model has read each slot.

use std::collections::HashMap;

use event_store::{Incarnation, Slot, SlotPosition};
use sqlx::PgConnection;

use crate::generation::Generation;

/// How far a read model has read a slot. Position 0 is nothing yet, in no incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub slot_position: SlotPosition,
    pub incarnation: Incarnation,
}

impl Checkpoint {
    pub const START: Self = Self {
        slot_position: SlotPosition(0),
        incarnation: Incarnation(0),
    };

    /// Beyond every log: where nobody needs events. Half of what there is, so that it can be counted
    /// on from.
    pub(crate) const NOBODY: Self = Self {
        slot_position: SlotPosition(i64::MAX / 2),
        incarnation: Incarnation(0),
    };

    pub(crate) fn is_start(self) -> bool {
        self.slot_position.0 == 0
    }

    /// Whether events of this incarnation continue what was read: it is the same, or a later one
    /// that is known to have begun behind what was read.
    pub(crate) fn continues_in(self, incarnation: Incarnation, branches: &[(Incarnation, SlotPosition)]) -> bool {
        if self.is_start() || self.incarnation == incarnation {
            return true;
        }
        let mut later = (self.incarnation.0 + 1)..=incarnation.0;
        !later.is_empty()
            && later.all(|step| {
                branches
                    .iter()
                    .any(|(known, common)| known.0 == step && self.slot_position <= *common)
            })
    }
}

/// Which of the projector's read models, by its place in the registry.
pub(crate) type ModelIndex = usize;

/// One checkpoint to be moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) model: ModelIndex,
    pub(crate) slot: Slot,
    pub(crate) from: Checkpoint,
    pub(crate) to: Checkpoint,
}

/// The checkpoints of these generations, of some slots or of all.
pub(crate) async fn load(
    connection: &mut PgConnection,
    generations: &[Generation],
    slots: Option<&[Slot]>,
) -> Result<HashMap<(ModelIndex, Slot), Checkpoint>, sqlx::Error> {
    let rows: Vec<(i64, i32, i64, i32)> = sqlx::query_as(
        "SELECT g.ordinality, c.slot, c.slot_position, c.incarnation
           FROM unnest($1::text[], $2::int[]) WITH ORDINALITY AS g (read_model, generation, ordinality)
           JOIN meta.checkpoints AS c USING (read_model, generation)
          WHERE $3::int[] IS NULL OR c.slot = ANY ($3)",
    )
    .bind(
        generations
            .iter()
            .map(|generation| generation.read_model)
            .collect::<Vec<_>>(),
    )
    .bind(
        generations
            .iter()
            .map(|generation| generation.number)
            .collect::<Vec<_>>(),
    )
    .bind(slots.map(|slots| slots.iter().map(|slot| i32::from(slot.0)).collect::<Vec<_>>()))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(ordinal, slot, position, incarnation)| {
            let model = usize::try_from(ordinal - 1).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let slot = slot_of(slot)?;
            let checkpoint = Checkpoint {
                slot_position: SlotPosition(position),
                incarnation: Incarnation(incarnation),
            };
            Ok(((model, slot), checkpoint))
        })
        .collect()
}

pub(crate) fn slot_of(stored: i32) -> Result<Slot, sqlx::Error> {
    u16::try_from(stored)
        .ok()
        .filter(|number| *number < Slot::COUNT)
        .map(Slot)
        .ok_or_else(|| sqlx::Error::Decode(format!("{stored} is not a slot").into()))
}

/// Moves checkpoints that still stand where they are thought to stand, and holds them until the
/// transaction ends. Gives each moved step's count of parked streams, `None` for those that
/// somebody else has moved. First in its transaction: a projector that was overtaken learns it
/// before it has written anything, and one that waits here sees afterwards all that was written.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    generations: &[Generation],
    steps: &[Step],
    compare: bool,
) -> Result<Vec<Option<i64>>, sqlx::Error> {
    let of = |step: &Step| &generations[step.model];
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "UPDATE meta.checkpoints AS c
            SET slot_position = s.to_position, incarnation = s.to_incarnation
           FROM unnest($1::text[], $2::int[], $3::int[], $4::bigint[], $5::int[], $6::bigint[], $7::int[])
                WITH ORDINALITY
             AS s (read_model, generation, slot, from_position, from_incarnation, to_position, to_incarnation,
                   ordinality)
          WHERE c.read_model = s.read_model AND c.generation = s.generation AND c.slot = s.slot
            AND (NOT $8 OR (c.slot_position = s.from_position AND c.incarnation = s.from_incarnation))
         RETURNING s.ordinality, c.parked",
    )
    .bind(steps.iter().map(|step| of(step).read_model).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| of(step).number).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| i32::from(step.slot.0)).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.from.slot_position.0).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.from.incarnation.0).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.to.slot_position.0).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.to.incarnation.0).collect::<Vec<_>>())
    .bind(compare)
    .fetch_all(connection)
    .await?;
    let mut moved = vec![None; steps.len()];
    for (ordinal, parked) in rows {
        if let Some(step) = usize::try_from(ordinal - 1).ok().and_then(|index| moved.get_mut(index)) {
            *step = Some(parked);
        }
    }
    Ok(moved)
}
