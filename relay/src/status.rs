//! How each shard stands, for `status` and health.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use event_store::{Position, ShardId};

/// A shard as this relay sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardStatus {
    pub shard: ShardId,
    /// Whether this relay publishes it. The rest is known only then.
    pub held: bool,
    /// Everything up to here is in Kafka.
    pub published: Position,
    /// The end of the log when it was last looked at.
    pub head: Position,
    /// The age of the first event that is not in Kafka.
    pub lag_ms: f64,
    /// Why publishing stopped last, until it goes on.
    pub trouble: Option<String>,
}

impl ShardStatus {
    fn blank(shard: ShardId) -> Self {
        let (published, head) = Default::default();
        Self {
            shard,
            held: false,
            published,
            head,
            lag_ms: 0.0,
            trouble: None,
        }
    }
}

/// The statuses of all shards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<ShardId, ShardStatus>>>);

impl Board {
    pub(crate) fn new(shards: &[ShardId]) -> Self {
        let blank = shards.iter().map(|shard| (*shard, ShardStatus::blank(*shard)));
        Self(Arc::new(Mutex::new(blank.collect())))
    }

    pub(crate) fn update(&self, shard: ShardId, change: impl FnOnce(&mut ShardStatus)) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(board.entry(shard).or_insert_with(|| ShardStatus::blank(shard)));
    }

    pub(crate) fn read(&self) -> Vec<ShardStatus> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
