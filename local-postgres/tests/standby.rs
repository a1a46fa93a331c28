//! Streaming standbys: they follow, answer, fall behind, catch up, take over.
#![expect(clippy::unwrap_used, reason = "a test helper that fails has failed the test")]
use std::time::{Duration, Instant};

use local_postgres::testing::{Replicated, ScratchFolder, throwaway};
use local_postgres::{Error, Server, Standby};
use sqlx::{Connection, Executor, PgConnection};

async fn keep(url: &str, rows: i32) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let statement =
        format!("create table if not exists kept (x int); insert into kept select generate_series(1, {rows})");
    connection.execute(statement.as_str()).await.unwrap();
}

async fn count(url: &str) -> Result<i64, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("select count(*) from kept")
        .fetch_one(&mut connection)
        .await
}

#[tokio::test]
async fn a_standby_follows_and_cannot_be_written_to() {
    let servers = Replicated::start("shop", 2).await;
    keep(&servers.primary.url("shop"), 3).await;
    for standby in 0..2 {
        servers.caught_up(standby).await;
        let url = servers.standbys[standby].url("shop");
        assert_eq!(count(&url).await.unwrap(), 3);
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let refused = connection.execute("insert into kept values (1)").await.unwrap_err();
        assert!(refused.to_string().contains("read-only"), "{refused}");
    }
    assert_ne!(servers.standbys[0].pid(), servers.standbys[1].pid());
}

#[tokio::test]
async fn a_standby_that_was_stopped_killed_or_frozen_catches_up() {
    let mut servers = Replicated::start("shop", 1).await;
    let (source, url) = (servers.primary.url("shop"), servers.standbys[0].url("shop"));
    keep(&source, 1).await;

    servers.standbys.remove(0).stop().await.unwrap();
    keep(&source, 1).await;
    servers.add_standby().await;
    servers.caught_up(0).await;
    assert_eq!(servers.standbys[0].url("shop"), url, "the same data and port");
    assert_eq!(count(&url).await.unwrap(), 2);

    let before = servers.standbys[0].pid().unwrap();
    servers.standbys[0].kill().await.unwrap();
    assert_eq!(servers.standbys[0].pid(), None);
    assert!(count(&url).await.is_err());
    keep(&source, 1).await;
    servers.standbys[0].restart().await.unwrap();
    assert_ne!(servers.standbys[0].pid(), Some(before));
    servers.caught_up(0).await;
    assert_eq!(count(&url).await.unwrap(), 3);

    servers.standbys[0].freeze();
    let hangs = tokio::time::timeout(Duration::from_millis(300), count(&url)).await;
    assert!(hangs.is_err(), "{hangs:?}");
    servers.standbys[0].thaw();
    assert_eq!(count(&url).await.unwrap(), 3);
    servers.standbys[0].freeze();
    servers.standbys.remove(0).stop().await.unwrap();
}

#[tokio::test]
async fn a_standby_answers_while_its_primary_is_down_and_follows_it_again() {
    let servers = Replicated::start("shop", 1).await;
    keep(&servers.primary.url("shop"), 2).await;
    servers.caught_up(0).await;
    servers.primary.kill().await.unwrap();
    assert_eq!(servers.primary.pid(), None);
    assert_eq!(count(&servers.standbys[0].url("shop")).await.unwrap(), 2);
    servers.primary.restart().await.unwrap();
    keep(&servers.primary.url("shop"), 1).await;
    servers.caught_up(0).await;
    assert_eq!(count(&servers.standbys[0].url("shop")).await.unwrap(), 3);
}

#[tokio::test]
async fn a_promoted_standby_is_written_to_and_starts_again_as_what_it_is() {
    let mut servers = Replicated::start("shop", 1).await;
    keep(&servers.primary.url("shop"), 2).await;
    servers.caught_up(0).await;
    servers.primary.kill().await.unwrap();
    servers.standbys[0].promote().await.unwrap();
    keep(&servers.standbys[0].url("shop"), 1).await;

    let url = servers.standbys[0].url("shop");
    servers.standbys.remove(0).stop().await.unwrap();
    let config = throwaway(servers.folder.path().join("standby_1"));
    let again = Standby::start(&servers.primary, "standby_1", config).await.unwrap();
    keep(&url, 1).await;
    assert_eq!(count(&url).await.unwrap(), 4);
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_came_to_nothing_is_begun_anew() {
    let servers = Replicated::start("shop", 0).await;
    let data = servers.folder.path().join("reads");
    std::fs::create_dir_all(data.join("postgres/cluster.new/base")).unwrap();
    let mut admin = PgConnection::connect(&servers.primary.url("postgres")).await.unwrap();
    admin
        .execute("select pg_create_physical_replication_slot('reads', true)")
        .await
        .unwrap();
    let standby = Standby::start(&servers.primary, "reads", throwaway(&data))
        .await
        .unwrap();
    let following = "select count(*) from pg_replication_slots where active and slot_name = 'reads'";
    let give_up = Instant::now() + Duration::from_secs(30);
    while sqlx::query_scalar::<_, i64>(following)
        .fetch_one(&mut admin)
        .await
        .unwrap()
        != 1
    {
        assert!(Instant::now() < give_up, "it does not follow");
    }
    standby.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_primary_there_is_no_new_standby_and_the_name_is_checked() {
    let servers = Replicated::start("shop", 0).await;
    let data = servers.folder.path().join("reads");
    let refused = Standby::start(&servers.primary, "Reads-1", throwaway(&data)).await;
    assert!(matches!(refused, Err(Error::DatabaseName { .. })), "{refused:?}");
    servers.primary.kill().await.unwrap();
    let refused = Standby::start(&servers.primary, "reads", throwaway(&data)).await;
    assert!(matches!(refused, Err(Error::Database { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_server_killed_by_order_stays_down_until_it_is_ordered_back() {
    let folder = ScratchFolder::new();
    let server = Server::start(throwaway(folder.path())).await.unwrap();
    keep(&server.url("postgres"), 1).await;
    server.kill().await.unwrap();
    server.kill().await.unwrap();
    assert!(count(&server.url("postgres")).await.is_err());
    server.restart().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(count(&server.url("postgres")).await.unwrap(), 1);
    server.kill().await.unwrap();
    server.stop().await.unwrap();
}
