//! A platform of fresh databases, events to append, and ways to wait.

pub(crate) mod proxy;
pub(crate) mod raw;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{BusinessDate, EventId, Numbering, OrderId, Sequence, StreamId, TenantId};
use event_store::{Append, EventStore, NewEvent, Options, ShardId, ShardOptions, Slot};
use migrations::Database;
use serde_json::json;
use serde_json::value::to_raw_value;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

/// Databases of a platform, migrated and with their slots given out.
pub(crate) struct Platform {
    pub(crate) control: String,
    pub(crate) shards: Vec<ShardOptions>,
}

pub(crate) async fn migrated(database: Database) -> String {
    let url = local_postgres::testing::fresh_database().await;
    let mut connection = connect(&url).await;
    migrations::migrate(database, &mut connection).await.expect("migrate");
    url
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connect")
}

impl Platform {
    pub(crate) async fn empty(shards: i16) -> Self {
        let mut list = Vec::new();
        for id in 0..shards {
            list.push(ShardOptions {
                id: ShardId(id),
                url: migrated(Database::EventStore).await,
            });
        }
        Self {
            control: migrated(Database::Control).await,
            shards: list,
        }
    }

    pub(crate) async fn fresh(shards: i16) -> Self {
        let platform = Self::empty(shards).await;
        platform.bootstrap().await.expect("bootstrap");
        platform
    }

    pub(crate) async fn bootstrap(&self) -> Result<(), event_store::Error> {
        event_store::bootstrap(&mut connect(&self.control).await, &self.shards).await
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            shards: self.shards.clone(),
            read_connections: 3,
            ..Options::default()
        }
    }

    pub(crate) async fn store(&self) -> EventStore {
        EventStore::connect(self.options())
            .await
            .expect("connect the event store")
    }

    /// A connection of one's own to a shard.
    pub(crate) async fn shard(&self, index: usize) -> PgConnection {
        connect(&self.shards[index].url).await
    }
}

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sql)
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

/// A second tenant in the same slot as `other`.
pub(crate) fn neighbour_of(other: &TenantId) -> TenantId {
    let candidates = (0..).map(|number| tenant(&format!("neighbour-{number}")));
    candidates
        .filter(|candidate| candidate != other)
        .find(|candidate| Slot::of(candidate) == Slot::of(other))
        .expect("one")
}

pub(crate) fn fresh_uuid() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn fresh_order(tenant: &TenantId) -> StreamId {
    StreamId::order(tenant, OrderId(fresh_uuid()))
}

pub(crate) fn event(event_type: &str) -> NewEvent {
    NewEvent {
        event_id: EventId(fresh_uuid()),
        event_type: event_type.to_owned(),
        event_version: "1.0".to_owned(),
        payload: to_raw_value(&json!({"type": event_type, "establishment_id": "roma", "business_date": "2026-02-28"}))
            .expect("json"),
        metadata: [("establishment_id".to_owned(), "roma".to_owned())].into(),
    }
}

pub(crate) fn append(stream: &StreamId, expected: i64) -> Append {
    Append {
        stream: stream.clone(),
        expected: Sequence(expected),
        numbering: None,
        events: vec![event("OrderStatusChanged")],
    }
}

/// The first event of an order, which draws a number at `roma`.
pub(crate) fn create(stream: &StreamId) -> Append {
    let numbering = Numbering {
        establishment_id: "roma".parse().expect("an id"),
        business_date: BusinessDate("2026-02-28".parse().expect("a date")),
    };
    Append {
        stream: stream.clone(),
        expected: Sequence::NONE,
        numbering: Some(numbering),
        events: vec![event("OrderCreated")],
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `holds`, and fails if it does not within twenty seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    while !holds().await {
        assert!(
            Instant::now() < deadline,
            "in {PATIENCE:?} it never came about that {what}"
        );
        look.tick().await;
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} took longer than {PATIENCE:?}"))
}

/// Another session that holds the shard's head lock until it is released.
pub(crate) struct HeadLock {
    holder: PgConnection,
    /// Not in a transaction, where what it sees of other sessions would stand still.
    observer: PgConnection,
}

impl HeadLock {
    pub(crate) async fn take(platform: &Platform, shard: usize) -> Self {
        let mut holder = platform.shard(shard).await;
        run(&mut holder, "BEGIN; SELECT lock_head()").await;
        Self {
            holder,
            observer: platform.shard(shard).await,
        }
    }

    /// Waits until another session waits for a lock of this database.
    pub(crate) async fn someone_waits(&mut self) {
        wait_for_waiter(&mut self.observer).await;
    }

    pub(crate) async fn release(mut self) {
        run(&mut self.holder, "ROLLBACK").await;
    }
}

pub(crate) async fn wait_for_waiter(observer: &mut PgConnection) {
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + PATIENCE;
    while number(observer, waiting).await == 0 {
        assert!(Instant::now() < deadline, "nobody came to wait for the head lock");
    }
}

/// Waits until a store's queues hold `depth` units in all.
pub(crate) async fn queued(store: &EventStore, depth: usize) {
    eventually(&format!("{depth} appends are queued"), || async {
        store
            .health()
            .await
            .iter()
            .map(|shard| shard.queue_depth)
            .sum::<usize>()
            >= depth
    })
    .await;
}
