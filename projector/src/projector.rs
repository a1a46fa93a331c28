//! All feeds of one process.

use std::collections::BTreeSet;

use event_store::{EventStore, ShardId};
use service::Shutdown;
use service::health::Part;
use service::settings::ProjectorSettings;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::consumer::Consumer;
use crate::engine::Engine;
use crate::error::Error;
use crate::feed::{ShardLog, ShardTail};
use crate::progress::Progress;

/// The embedded topology: read models kept up straight from the shards' tails. Works best with as
/// many of the read store's connections as there are shards, and one more.
#[derive(Debug, Clone)]
pub struct Projector {
    store: EventStore,
    consumer: Consumer,
}

impl Projector {
    /// A projector of every registered read model.
    pub fn new(store: EventStore, read_store: PgPool, settings: ProjectorSettings) -> Self {
        Self {
            store,
            consumer: Consumer::new(read_store, settings),
        }
    }

    /// A projector of what `consumer` keeps.
    pub fn with_consumer(store: EventStore, consumer: Consumer) -> Self {
        Self { store, consumer }
    }

    /// What has been committed, and how the feeds are doing.
    pub fn progress(&self) -> &Progress {
        self.consumer.progress()
    }

    /// How the projector is doing, for `/health`.
    pub fn health(&self) -> Part {
        self.progress().health()
    }

    /// Tails every shard, also those that are opened meanwhile, until it is told to stop.
    ///
    /// # Errors
    /// [`Error::OtherCodeVersion`] where a read model was filled by another version of its
    /// projection. Databases that do not answer are waited for.
    pub async fn run(&self, shutdown: Shutdown) -> Result<(), Error> {
        let (mut shards, mut tailed) = (self.store.shards_changed(), BTreeSet::new());
        let mut feeds = JoinSet::new();
        loop {
            let open = shards.borrow_and_update().clone();
            for shard in open {
                if !shutdown.is_triggered() && tailed.insert(shard) {
                    let (this, shutdown) = (self.clone(), shutdown.clone());
                    feeds.spawn(async move { this.tail(shard, shutdown).await });
                }
            }
            tokio::select! {
                ended = feeds.join_next() => match ended {
                    None => return Ok(()),
                    Some(Ok(result)) => result?,
                    // Passed on: whoever runs this decides what a panic means for the process.
                    Some(Err(error)) => if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    },
                },
                Ok(()) = shards.changed() => {}
            }
        }
    }

    /// Opens a shard's tail and follows it.
    async fn tail(&self, shard: ShardId, shutdown: Shutdown) -> Result<(), Error> {
        if let Some((engine, feed)) = self.consumer.patiently(shard, &shutdown, || self.open(shard)).await? {
            let log = ShardLog::new(self.store.clone(), shard);
            self.consumer.feeder(shard, feed, log, engine, shutdown).run().await;
        }
        Ok(())
    }

    async fn open(&self, shard: ShardId) -> Result<(Engine, ShardTail), Error> {
        let engine = self.consumer.engine().await?;
        let feed = ShardTail::open(&self.store, shard, |slot| engine.lowest(slot)).await?;
        Ok((engine, feed))
    }
}
