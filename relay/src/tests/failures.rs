//! Kafka away, brokers and relays killed, the topic deleted: the log minus the topic stays empty.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use local_kafka::testing;

use super::judge::{ends, judge};
use super::log::Log;
use super::running::{Running, settings};
use super::{SOON, eventually, topic};
use crate::session::Faults;

#[tokio::test(flavor = "multi_thread")]
async fn relays_and_brokers_are_killed_at_random_under_load() {
    let (log, kafka) = (Log::of(2).await, testing::cluster(3).await);
    let settings = settings(&kafka.bootstrap(), "failures-kills", 3);
    let load = log.load(Duration::from_millis(3));
    let mut relay = Running::start(&log, &settings);
    for round in 0..4_u8 {
        let broker = kafka.node(round % 3 + 1).unwrap();
        let goes_on = log.place(u64::from(round)).await;
        eventually("publishing goes on", SOON, async || {
            let shard = relay.status().into_iter().find(|it| it.shard == goes_on.shard);
            shard.is_some_and(|it| it.published >= goes_on.events[0].position)
        })
        .await;
        match round {
            0 | 2 => broker.kill().await.unwrap(),
            _ => broker.freeze().unwrap(),
        }
        relay.kill().await;
        relay = Running::start(&log, &settings);
        eventually("the new relay publishes without the broker", SOON, async || {
            relay
                .status()
                .iter()
                .all(|it| it.held && it.published.0 > 0 && it.trouble.is_none())
        })
        .await;
        match round {
            0 | 2 => broker.restart().await.unwrap(),
            _ => broker.thaw().unwrap(),
        }
    }
    let placed = load.stop().await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    relay.stop().await.unwrap();
    let verdict = judge(&log.events().await, &topic::read(&settings).await, 8, &BTreeMap::new());
    println!("{placed} orders: {verdict:?}");
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!(
        log.rewinds(&settings.kafka.topic.name).await,
        0,
        "nothing acknowledged was lost"
    );
}

/// The same course of events with and without the planted bug: Kafka stands still, orders come,
/// the relay is killed.
async fn killed_while_kafka_stands_still(faults: Faults, topic: &str) -> super::judge::Verdict {
    let (log, kafka) = (Log::of(1).await, testing::cluster(1).await);
    let settings = settings(&kafka.bootstrap(), topic, 1);
    log.place_many(50).await;
    let relay = Running::start_with(&log, &settings, faults);
    log.wait_until_published(topic).await;

    kafka.node(1).unwrap().freeze().unwrap();
    let last = Instant::now();
    log.place_many(50).await;
    assert!(
        last.elapsed() < Duration::from_secs(5),
        "commands do not wait for Kafka"
    );
    // The records have left the log when the relay has them, and the cursor when they are taken
    // for acknowledged: give it the time of several moves.
    let sent = async || log.is_published(topic).await || last.elapsed() > Duration::from_secs(2);
    eventually("the relay has seen them", SOON, sent).await;
    relay.kill().await;
    kafka.node(1).unwrap().thaw().unwrap();

    let relay = Running::start(&log, &settings);
    let after = log.place(1).await;
    eventually("the next relay publishes", SOON, async || {
        relay.status()[0].published >= after.events[0].position
    })
    .await;
    relay.stop().await.unwrap();
    judge(&log.events().await, &topic::read(&settings).await, 8, &BTreeMap::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_not_acknowledged_is_sent_again_and_the_judge_would_see_it_if_not() {
    let verdict = killed_while_kafka_stands_still(Faults::default(), "failures-still").await;
    assert!(verdict.is_good(), "{verdict:?}");
    let planted = Faults { advance_on_send: true };
    let verdict = killed_while_kafka_stands_still(planted, "failures-planted").await;
    println!("with the cursor moved on sending: {verdict:?}");
    assert!(verdict.missing > 0, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_may_be_away_when_the_relay_starts_and_come_and_go() {
    let (log, kafka) = (Log::of(1).await, testing::cluster(1).await);
    let mut settings = settings(&kafka.bootstrap(), "failures-away", 1);
    settings.relay.stall_ms = 1_000;
    let node = kafka.node(1).unwrap();
    node.kill().await.unwrap();
    let relay = Running::start(&log, &settings);
    log.place_many(20).await;
    let trouble = async || relay.status()[0].trouble.is_some() && relay.status()[0].lag_ms > 0.0;
    eventually("the relay says that Kafka is away, and for how long", SOON, trouble).await;

    node.restart().await.unwrap();
    log.wait_until_published(&settings.kafka.topic.name).await;
    eventually("the trouble is over", SOON, async || {
        relay.status()[0].trouble.is_none()
    })
    .await;

    node.kill().await.unwrap();
    log.place_many(20).await;
    eventually("the relay notices the silence", SOON, trouble).await;
    node.restart().await.unwrap();
    log.wait_until_published(&settings.kafka.topic.name).await;
    relay.stop().await.unwrap();
    let verdict = judge(&log.events().await, &topic::read(&settings).await, 8, &BTreeMap::new());
    assert!(verdict.is_good(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_is_made_again_and_everything_since_is_in_it() {
    let (log, kafka) = (Log::of(2).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "failures-deleted", 1);
    let load = log.load(Duration::from_millis(3));
    let relay = Running::start(&log, &settings);
    let name = &settings.kafka.topic.name;
    let settled = async || {
        let mut settled = true;
        for at in 0..2 {
            let position: Option<i64> =
                sqlx::query_scalar("SELECT settled_position FROM relay_cursors WHERE topic = $1")
                    .bind(name)
                    .fetch_optional(&mut log.shard(at).await)
                    .await
                    .unwrap();
            settled &= position.is_some_and(|it| it > 0);
        }
        settled
    };
    eventually("a position has settled", SOON, settled).await;

    let before = log.events().await;
    topic::delete(&settings).await;
    eventually("the relay notices", SOON, async || log.rewinds(name).await >= 2).await;
    let after = log.events().await;
    eventually("orders go on", SOON, async || {
        log.events().await.len() > after.len() + 100
    })
    .await;
    load.stop().await;
    log.wait_until_published(name).await;
    relay.stop().await.unwrap();

    let (events, topic) = (log.events().await, topic::read(&settings).await);
    // Whatever came after the deletion is complete and in order; what was before is in the shards.
    let verdict = judge(&events, &topic, 8, &ends(&before));
    println!(
        "{} of {} events in the new topic: {verdict:?}",
        topic.len(),
        events.len()
    );
    assert!(verdict.is_good(), "{verdict:?}");
}
