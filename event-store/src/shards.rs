//! The shards that a process has open. They only ever become more.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::branch::Branches;
use crate::error::Error;
use crate::ids::ShardId;
use crate::options::{Options, ShardOptions};
use crate::shard::Shard;

#[derive(Debug)]
pub(crate) struct Shards {
    open: ArcSwap<Vec<Arc<Shard>>>,
    ids: watch::Sender<Vec<ShardId>>,
    /// Held while the list changes, and while it is closed.
    changing: Mutex<()>,
    closing: CancellationToken,
    committers: TaskTracker,
    branches: Branches,
}

impl Shards {
    /// Opens what the options name.
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        let shards = Self {
            open: ArcSwap::default(),
            ids: watch::Sender::default(),
            changing: Mutex::default(),
            closing: CancellationToken::new(),
            committers: TaskTracker::new(),
            branches: Branches::default(),
        };
        for shard in &options.shards {
            if shards.get(shard.id).is_some() {
                return Err(Error::Misconfigured(format!("shard {} is configured twice", shard.id)));
            }
            shards.add(shards.start(shard, options)?);
        }
        Ok(shards)
    }

    /// A shard that is not one of these yet: see [`Shards::add`].
    pub(crate) fn start(&self, shard: &ShardOptions, options: &Options) -> Result<Arc<Shard>, Error> {
        let branch = self.branches.of_shard();
        Shard::start(shard, options, branch, &self.closing, &self.committers).map(Arc::new)
    }

    pub(crate) fn add(&self, shard: Arc<Shard>) {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closing.is_cancelled() {
            return;
        }
        let mut all = self.all().to_vec();
        all.push(shard);
        self.replace(all);
        drop(changing);
    }

    /// Sets aside what turned out not to be a shard yet, before anyone was told of it.
    pub(crate) fn retain(&self, keep: impl Fn(ShardId) -> bool) {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(self.all().iter().filter(|shard| keep(shard.id)).cloned().collect());
        drop(changing);
    }

    fn replace(&self, all: Vec<Arc<Shard>>) {
        let ids = all.iter().map(|shard| shard.id).collect();
        self.open.store(Arc::new(all));
        self.ids.send_replace(ids);
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<Shard>>> {
        self.open.load_full()
    }

    pub(crate) fn get(&self, id: ShardId) -> Option<Arc<Shard>> {
        self.open.load().iter().find(|shard| shard.id == id).cloned()
    }

    pub(crate) fn ids(&self) -> watch::Receiver<Vec<ShardId>> {
        self.ids.subscribe()
    }

    pub(crate) fn branches(&self) -> &Branches {
        &self.branches
    }

    /// Cancelled when no more appends are taken.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Takes no more appends, and returns when those handed over are committed.
    pub(crate) async fn close(&self) {
        {
            let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
            for shard in self.all().iter() {
                shard.queue.close();
            }
            self.closing.cancel();
        }
        self.committers.close();
        self.committers.wait().await;
    }
}
