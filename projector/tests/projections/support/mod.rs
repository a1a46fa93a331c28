//! A log in memory, a feed that delivers what it is told to, a read store, and what its rows have
//! to be.

pub(crate) mod expected;
pub(crate) mod log;
pub(crate) mod platform;
pub(crate) mod real;
pub(crate) mod rows;
pub(crate) mod samples;
pub(crate) mod site;

use std::time::Duration;

use event_store::{PositionToken, RecordedEvent, ShardId, Slot};
use projector::{Consumer, Progress};
use service::Shutdown;
use service::settings::ProjectorSettings;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use log::{MemoryLog, ScriptedFeed};

pub(crate) const SHARD: ShardId = ShardId(0);
pub(crate) const ALL: [&str; 5] = ["orders", "order_timeline", "daily_sales", "products", "establishments"];

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A migrated, empty read store.
pub(crate) async fn read_store() -> PgPool {
    let url = local_postgres::testing::fresh_database().await;
    let pool = PgPoolOptions::new()
        .max_connections(6)
        .connect(&url)
        .await
        .expect("the read store answers");
    let mut connection = pool.acquire().await.expect("a connection");
    migrations::migrate(migrations::Database::ReadStore, &mut connection)
        .await
        .expect("migrated");
    drop(connection);
    pool
}

/// Forgets every generation, as if the read store were new.
pub(crate) async fn reset(pool: &PgPool) {
    for read_model in ALL {
        let sql = format!("DROP SCHEMA IF EXISTS {read_model}_g1 CASCADE");
        sqlx::query(&sql).execute(pool).await.expect("dropped");
    }
    sqlx::query("TRUNCATE meta.generations CASCADE")
        .execute(pool)
        .await
        .expect("emptied");
}

/// Quick to compare and to try again, so that tests are.
pub(crate) fn settings() -> ProjectorSettings {
    ProjectorSettings {
        batch_max: 100,
        reconcile_interval_ms: 25,
        retry_min_ms: 5,
        retry_max_ms: 50,
        ..ProjectorSettings::default()
    }
}

/// A consumer at work.
pub(crate) struct Running {
    pub(crate) progress: Progress,
    pool: PgPool,
    pub(crate) feed: mpsc::UnboundedSender<Vec<RecordedEvent>>,
    shutdown: Shutdown,
    pub(crate) task: JoinHandle<Result<(), projector::Error>>,
}

/// Of every read model, and of all slots.
pub(crate) fn start(pool: &PgPool, log: &MemoryLog) -> Running {
    start_with(pool, Consumer::new(pool.clone(), settings()), log)
}

/// A consumer that writes to `pool`.
pub(crate) fn start_with(pool: &PgPool, consumer: Consumer, log: &MemoryLog) -> Running {
    begin(pool, consumer, log, vec![])
}

/// A consumer whose feed was given some slots only now.
pub(crate) fn start_given(pool: &PgPool, log: &MemoryLog, gained: Vec<Slot>) -> Running {
    begin(pool, Consumer::new(pool.clone(), settings()), log, gained)
}

fn begin(pool: &PgPool, consumer: Consumer, log: &MemoryLog, gained: Vec<Slot>) -> Running {
    let (feed, batches) = mpsc::unbounded_channel();
    let (shutdown, log) = (Shutdown::new(), log.clone());
    let (progress, stop) = (consumer.progress().clone(), shutdown.clone());
    let scripted = ScriptedFeed::new(batches).given(gained);
    let task = tokio::spawn(async move { consumer.consume(SHARD, scripted, log, stop).await });
    Running {
        progress,
        pool: pool.clone(),
        feed,
        shutdown,
        task,
    }
}

impl Running {
    pub(crate) fn deliver(&self, batch: &[RecordedEvent]) {
        self.feed.send(batch.to_vec()).expect("the consumer runs");
    }

    /// Waits until the read models hold everything that the log does.
    pub(crate) async fn reached(&self, read_models: &[&str], log: &MemoryLog) {
        for token in log.head_tokens() {
            self.reached_token(read_models, &token).await;
        }
    }

    pub(crate) async fn reached_token(&self, read_models: &[&str], token: &PositionToken) {
        let reached = rows::reached(&self.pool, &self.progress, read_models, token);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{token} is not reached; {:?}", self.progress.shards()));
    }

    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.expect("no panic").expect("no error");
    }
}

/// Delivers batches to a fresh consumer until everything in the log is applied.
pub(crate) async fn project(pool: &PgPool, log: &MemoryLog, batches: impl IntoIterator<Item = Vec<RecordedEvent>>) {
    let running = start(pool, log);
    for batch in batches {
        running.deliver(&batch);
    }
    running.reached(&ALL, log).await;
    running.stop().await;
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("never came about: {what}"))
}

/// Waits for a condition.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never came about: {what}");
        tokio::task::yield_now().await;
    }
}
