//! Several relays: each shard is published by one, and goes to another in seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use event_store::ShardId;
use local_kafka::testing;

use super::judge::judge;
use super::log::Log;
use super::running::{Running, settings};
use super::{SOON, eventually, topic};
use crate::published::{published, published_heads, rewind};

#[tokio::test(flavor = "multi_thread")]
async fn relays_share_the_shards_and_take_over_those_of_a_dead_one() {
    let (log, kafka) = (Log::of(4).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "sharing", 1);
    let load = log.load(Duration::from_millis(4));
    let one = Running::start(&log, &settings);
    eventually("the first relay publishes alone", SOON, async || one.held() == 4).await;
    let other = Running::start(&log, &settings);
    eventually("both publish two shards", SOON, async || {
        (one.held(), other.held()) == (2, 2)
    })
    .await;

    one.kill().await;
    let died = Instant::now();
    eventually("the other takes over", SOON, async || other.held() == 4).await;
    let took = died.elapsed();
    println!(
        "take-over after a kill: {took:?} (lease {} ms)",
        settings.relay.lease_ms
    );
    assert!(took < Duration::from_secs(10), "{took:?}");

    let third = Running::start(&log, &settings);
    eventually("the third gets its share", SOON, async || {
        (other.held(), third.held()) == (2, 2)
    })
    .await;
    let left = Instant::now();
    third.stop().await.unwrap();
    eventually("one that stops gives back at once", SOON, async || other.held() == 4).await;
    println!("take-over after a stop: {:?}", left.elapsed());

    load.stop().await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    for at in 0..4 {
        let heads = published_heads(&mut log.shard(at).await, &settings.kafka.topic.name)
            .await
            .unwrap();
        assert!(!heads.is_empty() && heads.iter().all(|head| head.published));
        let unknown = published_heads(&mut log.shard(at).await, "no-such-topic")
            .await
            .unwrap();
        assert!(unknown.len() == heads.len() && unknown.iter().all(|head| !head.published));
    }
    other.stop().await.unwrap();
    let verdict = judge(&log.events().await, &topic::read(&settings).await, 8, &BTreeMap::new());
    println!("{verdict:?}");
    assert!(verdict.is_good(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_does_not_know_yet_that_it_lost_its_lease_repeats_and_reorders_nothing() {
    let (log, kafka) = (Log::of(1).await, testing::shared().await);
    let mut zombie = settings(&kafka.bootstrap(), "sharing-zombie", 1);
    // It moves its cursor, and so learns of its loss, long after another has taken over.
    zombie.relay.advance_interval_ms = 5_000;
    zombie.relay.lease_ms = 60_000;
    let healthy = settings(&kafka.bootstrap(), "sharing-zombie", 1);
    let load = log.load(Duration::from_millis(2));
    let first = Running::start(&log, &zombie);
    let name = &healthy.kafka.topic.name;
    let moved = async || {
        let it = published(&mut log.shard(0).await, name).await.unwrap();
        it.is_some_and(|it| it.position.0 > 0)
    };
    eventually("the first publishes", SOON, moved).await;

    // Its lease is taken from under it, and it is forgotten, as if its machine had stood still.
    let mut shard = log.shard(0).await;
    let at = rewind(&mut shard, name, event_store::Position(i64::MAX))
        .await
        .unwrap()
        .unwrap();
    sqlx::query("DELETE FROM relay_members")
        .execute(&mut shard)
        .await
        .unwrap();
    let second = Running::start(&log, &healthy);
    let passed = async || {
        let it = published(&mut log.shard(0).await, name).await.unwrap().unwrap();
        it.position.0 > at.0 + 200
    };
    eventually("the second publishes", SOON, passed).await;
    load.stop().await;
    log.wait_until_published(name).await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    let verdict = judge(&log.events().await, &topic::read(&healthy).await, 8, &BTreeMap::new());
    println!("{verdict:?}");
    assert!(verdict.is_good() && verdict.repeated > 0, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_added_is_published_by_one_of_the_relays_that_run() {
    let (mut log, kafka) = (Log::of(2).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "sharing-added", 1);
    let (one, other) = (Running::start(&log, &settings), Running::start(&log, &settings));
    log.place_many(39).await;
    let shared = async || one.held() == 1 && other.held() == 1;
    eventually("each publishes one shard", SOON, shared).await;

    log.add_shard_for(7, 39).await;
    assert_eq!(log.place(39).await.shard, ShardId(7));
    eventually("one of them publishes the new shard", SOON, async || {
        one.held() + other.held() == 3
    })
    .await;
    let publishes = |relay: &Running| relay.status().iter().any(|it| it.shard == ShardId(7) && it.held);
    assert_ne!(publishes(&one), publishes(&other));
    log.wait_until_published(&settings.kafka.topic.name).await;

    let (holder, survivor) = if publishes(&one) { (one, other) } else { (other, one) };
    holder.kill().await;
    log.place(39).await;
    eventually("the other takes it over", SOON, async || survivor.held() == 3).await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    survivor.stop().await.unwrap();
    let verdict = judge(&log.events().await, &topic::read(&settings).await, 8, &BTreeMap::new());
    assert!(verdict.is_good(), "{verdict:?}");
}
