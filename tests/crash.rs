//! Processes killed under load, and the proof that this harness would notice if it mattered.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::concurrency::{assert_guarantees, missing};
use crate::support::checker::Log;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::platform::Platform;

const KILLS: usize = 20;

/// Waits until the load has had `more` further orders acknowledged.
async fn progress(load: &Load, more: usize) {
    let target = load.acknowledged() + more;
    eventually(Duration::from_secs(90), || async {
        let acknowledged = load.acknowledged();
        if acknowledged >= target { Ok(()) } else { Err(format!("{acknowledged} of {target} orders")) }
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
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "planted", 4).await;
    for url in &platform.run.databases.shards {
        plant_asynchronous_commit(url).await;
    }
    // Connections made before the setting keep their own: end them.
    platform.kill_postgres();
    platform.ready().await;

    let running = load.start(16);
    progress(&load, 200).await;
    platform.kill_postgres();
    running.stop().await;
    platform.ready().await;

    // The answers given before the kill are the claim; what came after it is no witness.
    let log = Log::read(&platform.run.databases).await;
    let lost = missing(&load, &log).await;
    assert!(!lost.is_empty(), "acknowledged orders were lost and the harness saw nothing");
}

async fn plant_asynchronous_commit(url: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the shard answers");
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&mut connection).await.expect("a name");
    let statements = [
        format!("alter database {name} set synchronous_commit = off"),
        // The longest that PostgreSQL lets commits wait for its background writer.
        "alter system set wal_writer_delay = '10s'".to_owned(),
        "alter system set wal_writer_flush_after = '1GB'".to_owned(),
    ];
    for statement in statements {
        connection.execute(statement.as_str()).await.expect("planted");
    }
}
