//! Processes killed under load, and the proof that this harness would notice if it mattered.

use std::time::Duration;

use event_store::{EventStore, Options, ShardId, ShardOptions};
use projector::{Consumer, Fault, Projector};
use service::settings::ProjectorSettings;
use service::shutdown::Shutdown;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, PgPool};

use crate::concurrency::{assert_guarantees, missing};
use crate::support::checker::Log;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

const KILLS: usize = 20;

/// Waits until the load has had `more` further orders acknowledged.
pub(crate) async fn progress(load: &Load, more: usize) {
    let target = load.acknowledged() + more;
    eventually(Duration::from_secs(90), || async {
        let acknowledged = load.acknowledged();
        if acknowledged >= target {
            Ok(())
        } else {
            Err(format!("{acknowledged} of {target} orders"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_and_double_nothing() {
    let mut platform = Platform::start().await;
    let load = Load::prepare(&platform, "crash", 4).await;
    let running = load.start(16);
    for kill in 0..KILLS {
        progress(&load, 40).await;
        if kill % 2 == 0 {
            platform.kill();
            platform.restart().await;
        } else {
            platform.kill_postgres();
        }
    }
    progress(&load, 40).await;
    running.stop().await;
    platform.ready().await;
    assert_guarantees(&platform, &load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_sigterm_under_load_then_every_answered_order_is_kept() {
    let mut platform = Platform::start().await;
    let load = Load::prepare(&platform, "term", 4).await;
    let running = load.start(16);
    progress(&load, 200).await;
    let status = platform.terminate().await;
    assert!(status.success(), "{status}");
    platform.restart().await;
    progress(&load, 40).await;
    running.stop().await;
    assert_guarantees(&platform, &load).await;
}

/// The harness is worth something only if it fails when durability is off.
#[tokio::test(flavor = "multi_thread")]
async fn planted_asynchronous_commits_are_noticed_when_postgresql_is_killed() {
    // A kill right after a flush loses nothing that was answered, so there are several tries.
    for _ in 0..5 {
        if !lost_by_asynchronous_commits().await.is_empty() {
            return;
        }
    }
    panic!("acknowledged orders were lost and the harness saw nothing");
}

/// A platform of its own each time: one that notices a loss itself keeps the shard closed.
async fn lost_by_asynchronous_commits() -> Vec<String> {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "planted", 4).await;
    plant_asynchronous_commit(&platform.run.databases.shards[0]).await;
    // Connections made before the setting keep their own: end them.
    platform.kill_postgres();
    platform.ready().await;

    let running = load.start(16);
    progress(&load, 200).await;
    platform.kill_postgres();
    running.abandon().await;
    for url in &platform.run.databases.shards {
        eventually(Duration::from_secs(60), || async {
            let connected = PgConnection::connect(url).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    // The answers given before the kill are the claim; what came after it is no witness.
    let log = Log::read(&platform.run.databases).await;
    missing(&load, &log).await
}

/// For every session of the server: one that still flushed would flush the others' commits too.
async fn plant_asynchronous_commit(url: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the shard answers");
    let statements = [
        "alter role current_user set synchronous_commit = off",
        // The longest that PostgreSQL lets commits wait for its background writer.
        "alter system set wal_writer_delay = '10s'",
        "alter system set wal_writer_flush_after = '1GB'",
    ];
    for statement in statements {
        connection.execute(statement).await.expect("planted");
    }
}

/// A second projector over the same slots, in this process, until told to stop.
struct SecondProjector {
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), projector::Error>>,
}

impl SecondProjector {
    async fn start(platform: &dyn Topology, fault: Option<Fault>) -> Self {
        let shards = platform.databases().shards.iter().zip(0_i16..);
        let shards = shards
            .map(|(url, id)| ShardOptions {
                id: ShardId(id),
                url: url.clone(),
            })
            .collect();
        let store = EventStore::connect(Options {
            shards,
            ..Options::default()
        })
        .await
        .expect("the log");
        let read_store = PgPool::connect(&platform.databases().read_store)
            .await
            .expect("the read store");
        let consumer = Consumer::new(read_store, ProjectorSettings::default()).with_fault(fault);
        let projector = Projector::with_consumer(store, consumer);
        let shutdown = Shutdown::new();
        let until = shutdown.clone();
        Self {
            shutdown,
            task: tokio::spawn(async move { projector.run(until).await }),
        }
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.expect("the projector's task").expect("the projector");
    }
}

/// Two projectors on every slot while orders flow; what the read models then differ by.
pub(crate) async fn differences_after_two_projectors(platform: &dyn Topology, fault: Option<Fault>) -> Vec<String> {
    let load = Load::prepare(platform, "two", 4).await;
    let second = SecondProjector::start(platform, fault).await;
    load.run(2_000, 32).await;
    load.settle().await;
    let log = Log::read(platform.databases()).await;
    log.await_caught_up(platform.databases()).await;
    second.stop().await;
    log.differences(platform.databases()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projectors_on_the_same_slots_count_everything_once() {
    let platform = Platform::start().await;
    assert_eq!(
        differences_after_two_projectors(&platform, None).await,
        Vec::<String>::new()
    );
}

/// The same with the comparison of checkpoints planted off: the harness must see it.
#[tokio::test(flavor = "multi_thread")]
async fn planted_checkpoints_set_without_comparing_are_noticed() {
    let environment = [
        ("COMANDA_PLANTED_FAULTS", "1"),
        ("COMANDA_FAULT_PROJECTOR", "skip_compare_and_set"),
    ];
    let platform = Platform::start_with(&environment).await;
    let found = differences_after_two_projectors(&platform, Some(Fault::SkipCompareAndSet)).await;
    assert!(
        !found.is_empty(),
        "two projectors overwrote each other and the harness saw nothing"
    );
}
