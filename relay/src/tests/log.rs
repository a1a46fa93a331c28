//! Shards with events, in databases of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::metadata::key;
use domain::{EventId, OrderId, Sequence, StreamId, TenantId};
use event_store::{
    Append, Committed, ControlOptions, EventStore, NewEvent, Options, Reopen, ShardId, ShardOptions, Slot,
    SlotPosition, Unreachable, UrlKept, bootstrap, promote, register_shard,
};
use migrations::{Database, migrate};
use serde_json::value::RawValue;
use service::shutdown::Shutdown;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::published::published;

/// What is at each place of each slot.
pub(super) type Events = BTreeMap<(Slot, SlotPosition), EventId>;

#[derive(Clone)]
pub(super) struct Log {
    pub(super) store: EventStore,
    pub(super) control: String,
    pub(super) shards: Vec<ShardOptions>,
}

impl Log {
    pub(super) async fn of(shards: i16) -> Self {
        let mut urls = Vec::new();
        for _ in 0..shards {
            urls.push(local_postgres::testing::fresh_database().await);
        }
        Self::on(urls).await
    }

    /// On databases that are empty.
    pub(super) async fn on(urls: Vec<String>) -> Self {
        let at = local_postgres::testing::fresh_database().await;
        let mut control = open(&at).await;
        migrate(Database::Control, &mut control).await.unwrap();
        let mut options = Vec::new();
        for (id, url) in (0..).zip(urls) {
            migrate(Database::EventStore, &mut open(&url).await).await.unwrap();
            options.push(ShardOptions { id: ShardId(id), url });
        }
        bootstrap(&mut control, &options).await.unwrap();
        let all = Options {
            shards: options.clone(),
            control: Some(ControlOptions { url: at.clone() }),
            placement_poll: Duration::from_millis(20),
            read_connections: 4,
            ..Options::default()
        };
        Self {
            store: EventStore::connect(all).await.unwrap(),
            control: at,
            shards: options,
        }
    }

    /// Registers another shard and gives it the slot of the `nth` tenant, which must be empty.
    pub(super) async fn add_shard_for(&mut self, id: i16, nth: u64) {
        let url = local_postgres::testing::fresh_database().await;
        migrate(Database::EventStore, &mut open(&url).await).await.unwrap();
        let shard = ShardOptions { id: ShardId(id), url };
        let mut control = open(&self.control).await;
        register_shard(&mut control, &shard, UrlKept::InControl).await.unwrap();
        let slot = Slot::of(&tenant(nth));
        for at in 0..self.shards.len() {
            let given = format!("UPDATE slots SET owned = false WHERE slot = {slot}");
            sqlx::query(&given).execute(&mut self.shard(at).await).await.unwrap();
        }
        let taken = format!("INSERT INTO slots (slot, ownership) VALUES ({slot}, 2)");
        sqlx::query(&taken).execute(&mut open(&shard.url).await).await.unwrap();
        let placed = format!("UPDATE placement SET shard_id = {id} WHERE slot = {slot}");
        sqlx::query(&placed).execute(&mut control).await.unwrap();
        self.shards.push(shard);
        let routed = async || self.store.shard_of(slot).ok() == Some(ShardId(id));
        super::eventually("the slot is routed to the new shard", super::SOON, routed).await;
    }

    /// Opens the first shard again after its standby was promoted.
    pub(super) async fn promoted(&self) {
        let reopen = Reopen {
            shard: ShardId(0),
            shards: &self.shards,
            unreachable: Unreachable::Refuse,
            known: &[],
        };
        promote(&mut open(&self.control).await, &reopen).await.unwrap();
    }

    /// Stores an order of one event for the `nth` tenant.
    pub(super) async fn place(&self, nth: u64) -> Committed {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)));
        let tenant = tenant(nth);
        let metadata = [(key::TENANT_ID, tenant.to_string()), (key::ACTOR, "till 1".to_owned())];
        let payload = format!("{{ \"type\":\"OrderCreated\" , \"order_id\":\"{id}\"}}");
        let append = Append {
            stream: StreamId::order(&tenant, OrderId(id)),
            expected: Sequence::NONE,
            numbering: None,
            events: vec![NewEvent {
                event_id: EventId(id),
                event_type: "OrderCreated".to_owned(),
                event_version: "1.0".to_owned(),
                payload: RawValue::from_string(payload).unwrap(),
                metadata: metadata
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            }],
        };
        let mut again = tokio::time::interval(Duration::from_millis(5));
        loop {
            match self.store.append(append.clone()).await {
                // Its slot is shut for a moment.
                Err(event_store::Error::NotOwned { .. }) => again.tick().await,
                stored => return stored.unwrap(),
            };
        }
    }

    pub(super) async fn place_many(&self, count: u64) {
        let appends = (0..count).map(|nth| self.place(nth));
        futures_join(appends).await;
    }

    /// Places orders until it is stopped; returns how many.
    pub(super) fn load(&self, every: Duration) -> Load {
        let (log, stop) = (self.clone(), Shutdown::new());
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(every);
            let mut placed = 0;
            while !stopping.is_triggered() {
                pace.tick().await;
                log.place(placed).await;
                placed += 1;
            }
            placed
        });
        Load { stop, task }
    }

    pub(super) async fn shard(&self, at: usize) -> PgConnection {
        open(&self.shards[at].url).await
    }

    /// Everything that is in the log, by its own tables.
    pub(super) async fn events(&self) -> Events {
        let mut all = Events::new();
        for at in 0..self.shards.len() {
            let rows: Vec<(i16, i64, Uuid)> = sqlx::query_as(
                "SELECT e.slot, e.slot_position, e.event_id FROM events e JOIN slots s USING (slot) \
                  WHERE s.owned AND NOT e.copied",
            )
            .fetch_all(&mut self.shard(at).await)
            .await
            .unwrap();
            all.extend(
                rows.into_iter().map(|(slot, position, id)| {
                    ((Slot(slot.try_into().unwrap()), SlotPosition(position)), EventId(id))
                }),
            );
        }
        all
    }

    /// Every event, by the shard that took it: where its slot is now does not matter.
    pub(super) async fn originals(&self) -> Events {
        let mut all = Events::new();
        for at in 0..self.shards.len() {
            let rows: Vec<(i16, i64, Uuid)> =
                sqlx::query_as("SELECT slot, slot_position, event_id FROM events WHERE NOT copied")
                    .fetch_all(&mut self.shard(at).await)
                    .await
                    .unwrap();
            all.extend(
                rows.into_iter().map(|(slot, position, id)| {
                    ((Slot(slot.try_into().unwrap()), SlotPosition(position)), EventId(id))
                }),
            );
        }
        all
    }

    /// Whether the cursor of every shard has reached the end of its log.
    pub(super) async fn is_published(&self, topic: &str) -> bool {
        for at in 0..self.shards.len() {
            match published(&mut self.shard(at).await, topic).await.unwrap() {
                Some(it) if it.position == it.head => {}
                _ => return false,
            }
        }
        true
    }

    pub(super) async fn wait_until_published(&self, topic: &str) {
        let what = format!("everything is published to {topic}");
        super::eventually(&what, super::SOON, async || self.is_published(topic).await).await;
    }

    pub(super) async fn rewinds(&self, topic: &str) -> i64 {
        let mut rewinds = 0;
        for at in 0..self.shards.len() {
            let of_shard = published(&mut self.shard(at).await, topic).await.unwrap();
            rewinds += of_shard.map_or(0, |it| it.rewinds);
        }
        rewinds
    }
}

pub(super) struct Load {
    stop: Shutdown,
    task: tokio::task::JoinHandle<u64>,
}

impl Load {
    pub(super) async fn stop(self) -> u64 {
        self.stop.trigger();
        self.task.await.unwrap()
    }
}

pub(super) fn tenant(nth: u64) -> TenantId {
    TenantId::new(&format!("tenant-{}", nth % 40)).unwrap()
}

pub(super) async fn open(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = futures.map(Box::pin).map(|it| (it, None)).collect();
    std::future::poll_fn(move |context| {
        let mut open = false;
        for (future, done) in &mut all {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => open = true,
                }
            }
        }
        if open {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(all.iter_mut().filter_map(|(_, done)| done.take()).collect())
    })
    .await
}
