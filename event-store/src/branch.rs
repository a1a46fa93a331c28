//! Which branch of its history each shard was last seen on, so that what was read of another one is
//! not taken for the log's.
//!
//! A promotion or restoration raises the incarnations of all slots of a shard, to one that nothing
//! was ever given. So the highest incarnation on a shard names the branch. (A slot that moves in may
//! raise it, too: that costs reading again, and nothing else.)

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use sqlx::PgExecutor;

const UNSEEN: i32 = 0;

/// Counts, over all shards of a process, how often one was found on another branch than before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Branches(Arc<AtomicU64>);

/// What was read while the count stood here is of the branches that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

impl Branches {
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    /// For one more shard, of which nothing was read yet.
    pub(crate) fn of_shard(&self) -> Branch {
        Branch {
            all: self.clone(),
            seen: Arc::new(AtomicI32::new(UNSEEN)),
        }
    }
}

/// The branch that one shard was last seen on.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    all: Branches,
    seen: Arc<AtomicI32>,
}

impl Branch {
    /// Asks the shard, over a connection whose server it will be for whatever follows.
    pub(crate) async fn look(&self, shard: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
        let highest = "SELECT coalesce(max(incarnation), 1) FROM slots";
        self.saw(sqlx::query_scalar(highest).fetch_one(shard).await?);
        Ok(())
    }

    fn saw(&self, incarnation: i32) {
        let before = self.seen.swap(incarnation, Ordering::AcqRel);
        if before != UNSEEN && before != incarnation {
            self.all.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.all.epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_incarnation_of_any_shard_counts_and_the_first_one_seen_does_not() {
        let all = Branches::default();
        let (one, other) = (all.of_shard(), all.of_shard());
        let begun = all.epoch();
        one.saw(1);
        other.saw(7);
        one.saw(1);
        assert_eq!(all.epoch(), begun);
        one.saw(2);
        let promoted = all.epoch();
        assert!(promoted > begun);
        other.saw(6);
        assert!(all.epoch() > promoted, "a backup knows less");
    }
}
