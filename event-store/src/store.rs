//! The event store of a process: its shards, and the way to the right one.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cqrs_es::Aggregate;
use domain::StoredEvent;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::aggregates::AggregateStore;
use crate::append::{Append, Committed};
use crate::batch::Prepared;
use crate::branch::Epoch;
use crate::cache::StreamCache;
use crate::error::Error;
use crate::ids::{Position, ShardId, Slot};
use crate::learning::Learning;
use crate::options::{Options, ShardOptions};
use crate::placement::{Placement, Unreadable};
use crate::shard::Shard;
use crate::shards::Shards;
use crate::tail::Tail;

const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// A handle to the log; cheap to clone. When the last one is dropped, what was handed over is still
/// committed; [`EventStore::close`] waits for that.
#[derive(Clone)]
pub struct EventStore {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) shards: Shards,
    pub(crate) placement: Placement,
    /// One cache per kind of aggregate, made when it is first asked for.
    caches: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// How a shard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardHealth {
    pub shard: ShardId,
    pub reachable: bool,
    /// Whether it takes appends: reachable, and not restored or promoted a moment ago.
    pub accepting: bool,
    /// Whether the server keeps what it acknowledges through a crash.
    pub durable: bool,
    /// Units of room taken in the queue, of [`Options::queue_capacity`].
    pub queue_depth: usize,
}

impl EventStore {
    /// Starts a committer per shard and learns who owns what. Shards that cannot be reached do not
    /// stop the others: their tenants are answered [`Error::Unavailable`] until they are back. The
    /// control database need not be reachable where the options name a shard that is; one that they
    /// name and that is no shard yet is opened when it has become one.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] where the shards' options are wrong, or a database is not the shard
    /// it is configured as; [`Error::Unavailable`] where no shard can be reached.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let inner = Inner {
            shards: Shards::open(&options)?,
            placement: Placement::unknown(),
            caches: Mutex::new(HashMap::new()),
            options,
        };
        let store = Self { inner: Arc::new(inner) };
        let learning = Learning::new(Arc::downgrade(&store.inner), &store.inner.options)?;
        match learning {
            None => store.begin(false).await?,
            Some(mut learning) => {
                if store.shards().is_empty() {
                    learning.look().await;
                }
                store.begin(true).await?;
                tokio::spawn(learning.run(store.inner.options.placement_poll));
            }
        }
        Ok(store)
    }

    /// The first reading of the shards. `learning`: what is no shard yet may become one.
    async fn begin(&self, learning: bool) -> Result<(), Error> {
        let Inner { shards, placement, .. } = &*self.inner;
        if shards.all().is_empty() {
            return Err(Error::Misconfigured("no shards are configured".to_owned()));
        }
        let mut read = placement.refresh(shards, Instant::now()).await;
        let mut later = Vec::new();
        for (shard, failure) in &read.failures {
            match failure {
                Unreadable::NotYetAShard(_) if learning && read.readable > 0 => later.push(*shard),
                Unreadable::NotYetAShard(_) | Unreadable::AnotherShard(..) => {
                    return Err(Error::Misconfigured(failure.to_string()));
                }
                Unreadable::Failed(_) => {}
            }
        }
        if !later.is_empty() {
            shards.retain(|shard| !later.contains(&shard));
            placement.refresh(shards, Instant::now()).await;
        }
        match read.failures.pop() {
            Some((_, Unreadable::Failed(error))) if read.readable == 0 => {
                Err(Error::unavailable("no shard can be reached", error))
            }
            _ => Ok(()),
        }
    }

    /// The streams of one kind of aggregate, by way of `cqrs-es`. All share one cache.
    pub fn aggregates<A>(&self) -> AggregateStore<A>
    where
        A: Aggregate + Clone + 'static,
        A::Event: StoredEvent,
    {
        let mut caches = self.inner.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(StreamCache::<A>::new(self.inner.options.cached_events));
        let cache = Arc::clone(caches.entry(TypeId::of::<A>()).or_insert_with(|| made()));
        drop(caches);
        // Keyed by the type itself, so the downcast always finds it.
        AggregateStore::new(self.clone(), cache.downcast().unwrap_or_else(|_| made()))
    }

    /// Appends to one stream, durably, all or nothing.
    ///
    /// # Errors
    /// [`Error`]; only after [`Error::Unavailable`] is the outcome unknown.
    pub async fn append(&self, append: Append) -> Result<Committed, Error> {
        self.append_decided(append, None).await
    }

    /// As [`EventStore::append`]; a conflict, too, where what was decided on was read of a history
    /// that is not the log's any more.
    pub(crate) async fn append_decided(&self, append: Append, on: Option<Epoch>) -> Result<Committed, Error> {
        let prepared = Arc::new(Prepared::new(append, on)?);
        let slot = prepared.slot;
        let shard = self.owner(slot).await?;
        match shard.queue.append(Arc::clone(&prepared)).await {
            Err(Error::NotOwned { .. }) => {
                let moved_to = self.owner_after_refresh(slot).await?;
                if moved_to.id == shard.id {
                    return Err(Error::NotOwned { slot });
                }
                moved_to.queue.append(prepared).await
            }
            answered => answered,
        }
    }

    /// The shards that are open. Grows where [`Options::control`] is set.
    pub fn shards(&self) -> Vec<ShardId> {
        self.shards_changed().borrow().clone()
    }

    /// The shards that are open, and a sign whenever there is another.
    pub fn shards_changed(&self) -> watch::Receiver<Vec<ShardId>> {
        self.inner.shards.ids()
    }

    /// Where an open shard is, for whoever keeps connections of their own to it.
    ///
    /// # Errors
    /// [`Error::UnknownShard`].
    pub fn shard_options(&self, id: ShardId) -> Result<ShardOptions, Error> {
        let url = self.shard(id)?.url.clone();
        Ok(ShardOptions { id, url })
    }

    /// The shard that is taken to own a slot.
    ///
    /// # Errors
    /// [`Error::NotOwned`] or [`Error::Unavailable`] where none is known.
    pub fn shard_of(&self, slot: Slot) -> Result<ShardId, Error> {
        self.inner.placement.owner(slot)
    }

    /// Follows a shard's log from behind `after`.
    ///
    /// # Errors
    /// [`Error::UnknownShard`].
    pub fn tail(&self, shard: ShardId, after: Position) -> Result<Tail, Error> {
        let shard = self.shard(shard)?;
        Ok(Tail::new(
            shard.pool.clone(),
            shard.head.clone(),
            after,
            self.inner.options.poll_interval,
        ))
    }

    /// Asks every shard how it is; bounded to two seconds.
    pub async fn health(&self) -> Vec<ShardHealth> {
        join_all(self.inner.shards.all().iter().map(|shard| health(shard))).await
    }

    /// Takes no more appends, commits what was handed over, and returns when that is done.
    pub async fn close(&self) {
        self.inner.shards.close().await;
    }

    /// To be taken before reading what is kept.
    pub(crate) fn epoch(&self) -> Epoch {
        self.inner.shards.branches().epoch()
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<Arc<Shard>, Error> {
        self.inner.shards.get(id).ok_or(Error::UnknownShard(id))
    }

    /// The shard taken to own the slot; asks the shards where none is known.
    pub(crate) async fn owner(&self, slot: Slot) -> Result<Arc<Shard>, Error> {
        match self.inner.placement.owner(slot) {
            Ok(id) => self.shard(id),
            Err(_) => self.owner_after_refresh(slot).await,
        }
    }

    /// The shard that owns the slot by what the shards say from now on.
    pub(crate) async fn owner_after_refresh(&self, slot: Slot) -> Result<Arc<Shard>, Error> {
        self.inner.placement.refresh(&self.inner.shards, Instant::now()).await;
        self.shard(self.inner.placement.owner(slot)?)
    }
}

async fn health(shard: &Shard) -> ShardHealth {
    let query = sqlx::query_as::<_, (bool, bool)>(
        "SELECT state = 'open', \
                current_setting('fsync')::bool AND current_setting('synchronous_commit') <> 'off' FROM shard",
    );
    let answer = timeout(HEALTH_TIMEOUT, query.fetch_one(&shard.pool))
        .await
        .ok()
        .and_then(Result::ok);
    let (accepting, durable) = answer.unwrap_or_default();
    ShardHealth {
        shard: shard.id,
        reachable: answer.is_some(),
        accepting,
        durable,
        queue_depth: shard.queue.depth(),
    }
}

impl std::fmt::Debug for EventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStore")
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}
