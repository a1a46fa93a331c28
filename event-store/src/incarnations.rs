//! What a restoration or promotion took away: who holds positions that no longer exist.

use std::collections::HashMap;

use crate::error::Error;
use crate::ids::{Incarnation, ShardId, Slot, SlotPosition};
use crate::read::SlotHead;
use crate::store::EventStore;
use crate::token::PositionToken;

/// Where a later incarnation of a slot began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    pub slot: Slot,
    pub incarnation: Incarnation,
    /// Everything up to here is common to it and the incarnation before.
    pub behind: SlotPosition,
}

/// The incarnations of slots and where they stand now.
#[derive(Debug, Clone, Default)]
pub struct History {
    heads: HashMap<Slot, (Incarnation, SlotPosition)>,
    branches: Vec<Branch>,
}

/// A position that someone holds and the log does not: what lies beyond `agreed` was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    pub known: PositionToken,
    /// The last position that the holder and the log have in common.
    pub agreed: SlotPosition,
}

impl Ahead {
    /// How many events the holder has seen that no longer exist.
    pub fn lost(&self) -> i64 {
        self.known.slot_position.0 - self.agreed.0
    }
}

impl History {
    pub(crate) fn new(heads: impl Iterator<Item = SlotHead>, branches: Vec<Branch>) -> Self {
        let heads = heads
            .filter(|head| head.owned)
            .map(|head| (head.slot, (head.incarnation, head.slot_position)))
            .collect();
        Self { heads, branches }
    }

    /// The last position up to which what `known`'s incarnation holds is still the log; `None` for a
    /// slot that this does not speak of.
    pub fn agreed(&self, known: PositionToken) -> Option<SlotPosition> {
        let (_, head) = *self.heads.get(&known.slot)?;
        let later = self
            .branches
            .iter()
            .filter(|branch| branch.slot == known.slot && branch.incarnation > known.incarnation);
        Some(later.map(|branch| branch.behind).fold(head, SlotPosition::min))
    }

    /// Those positions that are beyond what the log has in common with them.
    pub fn ahead(&self, known: &[PositionToken]) -> Vec<Ahead> {
        let ahead = |known: &PositionToken| {
            let agreed = self.agreed(*known)?;
            (known.slot_position > agreed).then_some(Ahead { known: *known, agreed })
        };
        known.iter().filter_map(ahead).collect()
    }
}

impl EventStore {
    /// The incarnations of the slots that a shard owns.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn history(&self, shard: ShardId) -> Result<History, Error> {
        // In this order: no head is of an incarnation whose beginning is missing.
        let heads = self.heads(shard).await?;
        Ok(History::new(heads.into_iter(), self.branches(shard).await?))
    }

    /// Where the later incarnations of a shard's slots began. Read after the heads, it has those of
    /// every head.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn branches(&self, shard: ShardId) -> Result<Vec<Branch>, Error> {
        read_branches(&self.shard(shard)?.pool).await.map_err(Error::read)
    }
}

pub(crate) async fn read_branches(executor: impl sqlx::PgExecutor<'_>) -> Result<Vec<Branch>, sqlx::Error> {
    let rows: Vec<(i16, i32, i64)> =
        sqlx::query_as("SELECT slot, incarnation, began_behind FROM incarnations ORDER BY slot, incarnation")
            .fetch_all(executor)
            .await?;
    let branch = |(slot, incarnation, behind)| {
        Some(Branch {
            slot: Slot::from_i16(slot)?,
            incarnation: Incarnation(incarnation),
            behind: SlotPosition(behind),
        })
    };
    Ok(rows.into_iter().filter_map(branch).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ownership;

    #[test]
    fn a_reader_of_an_old_incarnation_is_ahead_though_the_log_has_grown_past_it() {
        let head = SlotHead {
            slot: Slot(3),
            slot_position: SlotPosition(150),
            incarnation: Incarnation(3),
            ownership: Ownership(1),
            owned: true,
        };
        let branch = |incarnation, behind| Branch {
            slot: Slot(3),
            incarnation: Incarnation(incarnation),
            behind: SlotPosition(behind),
        };
        let history = History::new([head].into_iter(), vec![branch(2, 90), branch(3, 140)]);
        let agreed = |token: &str| history.agreed(token.parse().unwrap()).map(|position| position.0);
        assert_eq!(agreed("3.1.100"), Some(90));
        assert_eq!(agreed("3.2.145"), Some(140));
        assert_eq!(agreed("3.3.150"), Some(150));
        assert_eq!(agreed("4.1.1"), None);
        let known = ["3.1.90", "3.1.100", "3.2.140", "3.2.145", "3.3.150"].map(|token| token.parse().unwrap());
        let lost: Vec<i64> = history.ahead(&known).iter().map(Ahead::lost).collect();
        assert_eq!(lost, [10, 5]);
    }
}
