//! Giving shards their slots: once, evenly, and never over what exists.

use event_store::{Error, ShardId, ShardOptions};
use migrations::Database;

use crate::support::{Platform, append, connect, fresh_order, migrated, number, tenant};

async fn owned(shard: &ShardOptions) -> i64 {
    number(&mut connect(&shard.url).await, "SELECT count(*) FROM slots WHERE owned").await
}

#[tokio::test]
async fn given_a_fresh_platform_then_the_slots_are_split_evenly() {
    let platform = Platform::fresh(3).await;
    let mut shares = Vec::new();
    for shard in &platform.shards {
        shares.push(owned(shard).await);
    }
    assert_eq!(shares, [342, 341, 341]);
    let mut control = connect(&platform.control).await;
    assert_eq!(
        number(&mut control, "SELECT count(*) FROM placement WHERE region = 'local'").await,
        1024
    );
    let store = platform.store().await;
    assert!(event_store::Slot::all().all(|slot| store.shard_of(slot).is_ok()));
}

#[tokio::test]
async fn given_a_platform_in_use_when_it_runs_again_then_nothing_changes() {
    let platform = Platform::fresh(2).await;
    let store = platform.store().await;
    let committed = store
        .append(append(&fresh_order(&tenant("acme")), 0))
        .await
        .expect("stored");
    platform.bootstrap().await.expect("again");
    assert_eq!(store.head_of(&tenant("acme")).await.expect("head"), committed.token());
    assert_eq!(
        owned(&platform.shards[0]).await + owned(&platform.shards[1]).await,
        1024
    );
}

#[tokio::test]
async fn given_processes_that_start_together_then_they_do_not_meet() {
    let platform = Platform::empty(2).await;
    let (a, b, c) = tokio::join!(platform.bootstrap(), platform.bootstrap(), platform.bootstrap());
    assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
    assert_eq!(
        owned(&platform.shards[0]).await + owned(&platform.shards[1]).await,
        1024
    );
}

#[tokio::test]
async fn given_a_crash_before_the_second_shard_then_the_next_run_does_the_rest() {
    let platform = Platform::empty(2).await;
    let broken = [
        platform.shards[0].clone(),
        ShardOptions {
            id: ShardId(1),
            url: "postgres://127.0.0.1:1/x".to_owned(),
        },
    ];
    let failed = event_store::bootstrap(&mut connect(&platform.control).await, &broken).await;
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
    platform.bootstrap().await.expect("the rest");
    assert_eq!(
        (owned(&platform.shards[0]).await, owned(&platform.shards[1]).await),
        (512, 512)
    );
}

#[tokio::test]
async fn given_a_shard_whose_database_is_empty_though_it_existed_then_it_is_not_created_again() {
    let mut platform = Platform::fresh(2).await;
    platform.shards[1].url = migrated(Database::EventStore).await;
    let refused = platform.bootstrap().await;
    assert!(
        matches!(&refused, Err(Error::Misconfigured(text)) if text.contains("restore")),
        "{refused:?}"
    );
    assert_eq!(owned(&platform.shards[1]).await, 0);
}

#[tokio::test]
async fn given_the_urls_of_two_shards_mixed_up_then_it_is_refused_everywhere() {
    let mut platform = Platform::fresh(2).await;
    let url = platform.shards[0].url.clone();
    platform.shards[0].url = std::mem::replace(&mut platform.shards[1].url, url);
    assert!(matches!(platform.bootstrap().await, Err(Error::Misconfigured(_))));
    let refused = event_store::EventStore::connect(platform.options()).await;
    assert!(
        matches!(&refused, Err(Error::Misconfigured(text)) if text.contains("shard 1")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn given_a_shard_missing_from_the_configuration_then_it_is_refused() {
    let mut platform = Platform::fresh(2).await;
    platform.shards.pop();
    assert!(matches!(platform.bootstrap().await, Err(Error::Misconfigured(_))));
    platform.shards.push(platform.shards[0].clone());
    assert!(
        matches!(platform.bootstrap().await, Err(Error::Misconfigured(_))),
        "an id twice"
    );
    platform.shards.clear();
    assert!(
        matches!(platform.bootstrap().await, Err(Error::Misconfigured(_))),
        "none at all"
    );
}

#[tokio::test]
async fn given_a_shard_added_later_then_it_starts_without_slots() {
    let mut platform = Platform::fresh(1).await;
    platform.shards.push(ShardOptions {
        id: ShardId(1),
        url: migrated(Database::EventStore).await,
    });
    platform.bootstrap().await.expect("added");
    assert_eq!(
        (owned(&platform.shards[0]).await, owned(&platform.shards[1]).await),
        (1024, 0)
    );
    assert_eq!(platform.store().await.shards(), [ShardId(0), ShardId(1)]);
}
