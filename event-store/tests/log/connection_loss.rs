//! A batch whose connection is lost is sent again, whole, and stored once.

use std::time::{Duration, Instant};

use event_store::{Error, EventStore, Options};
use futures::future::join_all;

use crate::support::proxy::Proxy;
use crate::support::{HeadLock, Platform, append, create, eventually, fresh_order, number, run, tenant, within};

/// A store whose only shard is reached through a proxy.
async fn behind_proxy(platform: &Platform) -> (Proxy, EventStore) {
    let proxy = Proxy::to(&platform.shards[0].url).await;
    let mut options = platform.options();
    options.shards[0].url = proxy.url(&platform.shards[0].url);
    options.reconnect_within = Duration::from_secs(10);
    (proxy, EventStore::connect(options).await.expect("connect"))
}

#[tokio::test]
async fn given_a_backend_that_is_killed_during_an_append_then_it_is_sent_again() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let mut lock = HeadLock::take(&platform, 0).await;
    let pending = tokio::spawn({
        let (store, append) = (store.clone(), create(&fresh_order(&tenant("acme"))));
        async move { store.append(append).await }
    });
    lock.someone_waits().await;
    let mut shard = platform.shard(0).await;
    run(
        &mut shard,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'comanda committer'",
    )
    .await;
    lock.someone_waits().await;
    lock.release().await;

    let committed = within("the append", pending).await.expect("join").expect("stored");
    assert!(!committed.already_committed);
    assert_eq!(number(&mut shard, "SELECT count(*) FROM events").await, 1);
}

#[tokio::test]
async fn given_answers_lost_after_the_commit_then_the_batch_is_recognised_and_stored_once() {
    let platform = Platform::fresh(1).await;
    let (proxy, store) = behind_proxy(&platform).await;
    let acme = tenant("acme");
    store
        .append(create(&fresh_order(&acme)))
        .await
        .expect("the connection stands");
    let mut shard = platform.shard(0).await;

    let before = proxy.swallowed();
    proxy.mute(true);
    let pending: Vec<_> = (0..10)
        .map(|_| {
            let (store, append) = (store.clone(), create(&fresh_order(&acme)));
            tokio::spawn(async move { store.append(append).await })
        })
        .collect();
    // The commit is done, and its answer is gone.
    let committed = async { while number(&mut shard, "SELECT count(*) FROM events").await < 2 {} };
    within("the commit", committed).await;
    eventually("the answer was swallowed", || async { proxy.swallowed() > before }).await;
    proxy.mute(false);
    proxy.cut();

    let answers = within("the appends", join_all(pending)).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|joined| joined.expect("join").expect("stored"))
        .collect();
    assert!(
        answers.iter().any(|answer| answer.already_committed),
        "one had been committed before the cut"
    );
    let mut numbers: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.number)
        .map(|number| number.0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (2..=11).collect::<Vec<_>>(),
        "the answers carry the numbers that were stored"
    );
    assert_eq!(number(&mut shard, "SELECT count(*) FROM events").await, 11);
    assert_eq!(store.audit_tenant(&acme).await.expect("audit"), []);
}

#[tokio::test]
async fn given_a_shard_that_stays_away_then_appends_fail_in_bounded_time_and_work_when_it_is_back() {
    let platform = Platform::fresh(1).await;
    let proxy = Proxy::to(&platform.shards[0].url).await;
    let mut options = Options {
        reconnect_within: Duration::from_millis(300),
        read_connections: 2,
        ..platform.options()
    };
    options.shards[0].url = proxy.url(&platform.shards[0].url);
    let store = EventStore::connect(options).await.expect("connect");
    let acme = tenant("acme");
    store.append(append(&fresh_order(&acme), 0)).await.expect("stored");

    proxy.refuse(true);
    proxy.cut();
    let started = Instant::now();
    let calls = (0..50).map(|_| store.append(append(&fresh_order(&acme), 0)));
    let answers = within("being refused", join_all(calls)).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(Error::Unavailable { source: Some(_), .. })))
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "one wait for all, not one each"
    );
    assert!(!store.health().await[0].reachable);

    proxy.refuse(false);
    eventually("appends work again", || async {
        store.append(append(&fresh_order(&acme), 0)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn given_one_shard_of_two_away_from_the_start_then_the_other_serves() {
    let platform = Platform::fresh(2).await;
    let proxy = Proxy::to(&platform.shards[1].url).await;
    proxy.refuse(true);
    let mut options = platform.options();
    options.shards[1].url = proxy.url(&platform.shards[1].url);
    let store = EventStore::connect(options)
        .await
        .expect("one shard is enough to start");
    // Slots alternate between the two.
    let on = |shard: u16| {
        let names = (0..).map(|number| tenant(&format!("t{number}")));
        names
            .into_iter()
            .find(|tenant| event_store::Slot::of(tenant).0 % 2 == shard)
            .expect("a tenant")
    };
    assert!(store.append(append(&fresh_order(&on(0)), 0)).await.is_ok());
    let away = store.append(append(&fresh_order(&on(1)), 0)).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })), "{away:?}");

    proxy.refuse(false);
    let there = on(1);
    eventually("the second is found", || async {
        store.append(append(&fresh_order(&there), 0)).await.is_ok()
    })
    .await;
}
