//! How far read models are known to be: of one endpoint, and the furthest of all.

use std::collections::HashMap;

use event_store::Slot;

use crate::position::Checkpoint;
use crate::read_model::ReadModel;

/// What is known of one endpoint. It may be older than the truth, never ahead of it.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<ReadModel, Standing>);

#[derive(Debug, Default)]
struct Standing {
    generation: i32,
    /// By slot.
    checkpoints: Vec<Checkpoint>,
}

impl Known {
    pub(super) fn at(&self, model: ReadModel, generation: i32, slot: Slot) -> Option<Checkpoint> {
        let standing = self.0.get(&model).filter(|it| it.generation == generation)?;
        standing.checkpoints.get(usize::from(slot.0)).copied()
    }

    /// What a statement has shown.
    pub(super) fn learn(&mut self, model: ReadModel, generation: i32, slot: Slot, checkpoint: Checkpoint) {
        let standing = self.0.entry(model).or_default();
        if standing.generation != generation {
            *standing = Standing {
                generation,
                checkpoints: Vec::new(),
            };
        }
        let slot = usize::from(slot.0);
        if standing.checkpoints.len() <= slot {
            standing.checkpoints.resize(slot + 1, Checkpoint::default());
        }
        standing.checkpoints[slot] = standing.checkpoints[slot].max(checkpoint);
    }

    /// All of a read model, as it was just read.
    pub(super) fn replace(&mut self, model: ReadModel, generation: i32, checkpoints: Vec<Checkpoint>) {
        self.0.insert(
            model,
            Standing {
                generation,
                checkpoints,
            },
        );
    }

    pub(super) fn forget(&mut self, model: ReadModel) {
        self.0.remove(&model);
    }
}

/// The furthest that any endpoint was ever seen at.
#[derive(Debug, Default)]
pub(super) struct Furthest(HashMap<ReadModel, Vec<Checkpoint>>);

impl Furthest {
    /// Takes an endpoint's checkpoints in, and tells how many events it is behind in the read
    /// model that is furthest behind.
    pub(super) fn compare(&mut self, known: &Known) -> u64 {
        for (model, standing) in &known.0 {
            let furthest = self.0.entry(*model).or_default();
            if furthest.len() < standing.checkpoints.len() {
                furthest.resize(standing.checkpoints.len(), Checkpoint::default());
            }
            for (furthest, here) in furthest.iter_mut().zip(&standing.checkpoints) {
                *furthest = (*furthest).max(*here);
            }
        }
        let behind = |(model, furthest): (&ReadModel, &Vec<Checkpoint>)| -> u64 {
            let here = known.0.get(model).map_or(&[][..], |standing| &standing.checkpoints);
            let here = here.iter().copied().chain(std::iter::repeat(Checkpoint::default()));
            furthest
                .iter()
                .zip(here)
                .map(|(furthest, here)| furthest.ahead_of(here))
                .sum()
        };
        self.0.iter().map(behind).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(model: ReadModel, positions: &[i64]) -> Known {
        let mut known = Known::default();
        let checkpoints = positions.iter().map(|position| Checkpoint::stored(1, *position));
        known.replace(model, 1, checkpoints.collect());
        known
    }

    #[test]
    fn given_endpoints_then_each_is_behind_by_what_the_furthest_of_all_has_more() {
        let mut furthest = Furthest::default();
        assert_eq!(furthest.compare(&known(ReadModel::Orders, &[5, 0, 9])), 0);
        assert_eq!(furthest.compare(&known(ReadModel::Orders, &[4, 3, 2])), 8);
        assert_eq!(furthest.compare(&known(ReadModel::Orders, &[5, 0, 9])), 3);
        assert_eq!(
            furthest.compare(&known(ReadModel::Products, &[1])),
            17,
            "it has nothing of the orders"
        );
    }

    #[test]
    fn given_another_generation_then_nothing_is_known_of_it() {
        let mut known = known(ReadModel::Orders, &[5]);
        assert_eq!(known.at(ReadModel::Orders, 1, Slot(0)), Some(Checkpoint::stored(1, 5)));
        assert_eq!(known.at(ReadModel::Orders, 2, Slot(0)), None);
        assert_eq!(known.at(ReadModel::Orders, 1, Slot(1)), None);
        known.learn(ReadModel::Orders, 1, Slot(0), Checkpoint::stored(1, 3));
        assert_eq!(
            known.at(ReadModel::Orders, 1, Slot(0)),
            Some(Checkpoint::stored(1, 5)),
            "never backwards"
        );
    }
}
