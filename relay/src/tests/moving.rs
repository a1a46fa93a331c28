//! Slots that go from shard to shard while they are published: each slot's order in the topic holds.

use std::collections::BTreeMap;
use std::time::Duration;

use event_store::{Error, MoveEnd, MoveOptions, Mover, ShardId, Slot};
use local_kafka::testing;
use tokio_util::sync::CancellationToken;

use super::judge::{Verdict, judge};
use super::log::{Log, tenant};
use super::running::{Running, settings};
use super::topic;
use crate::settings::Settings;

const MOVES: i16 = 12;

fn mover(log: &Log, options: MoveOptions) -> Mover {
    Mover::new(&log.control, &log.shards, options).unwrap()
}

async fn carry(mover: &Mover, slot: Slot, target: i16) -> Result<MoveEnd, Error> {
    let planned = mover.plan(&[slot], ShardId(target)).await?;
    mover.run(&planned.moves[0], &CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_slots_that_move_while_orders_come_then_the_topic_has_all_in_order_per_slot() {
    let (log, kafka) = (Log::of(3).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "moving-slots", 1);
    // One per process, as each publishes some of the shards.
    let relays = [Running::start(&log, &settings), Running::start(&log, &settings)];
    let load = log.load(Duration::from_millis(2));
    let mover = mover(&log, MoveOptions::default());
    let mut pauses = Vec::new();
    for nth in 0..MOVES {
        let slot = Slot::of(&tenant(u64::try_from(nth % 3).unwrap()));
        let at = log.store.shard_of(slot).unwrap();
        match carry(&mover, slot, (at.0 + 1) % 3).await.unwrap() {
            MoveEnd::Done(done) => pauses.push(done.pause_ms.unwrap()),
            other => panic!("{other:?}"),
        }
        let routed = async || log.store.shard_of(slot).ok() == Some(ShardId((at.0 + 1) % 3));
        super::eventually("the slot is routed to its new shard", super::SOON, routed).await;
    }
    let placed = load.stop().await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    for relay in relays {
        relay.stop().await.unwrap();
    }
    pauses.sort_by(f64::total_cmp);
    println!("{placed} orders, pauses of {pauses:.1?} ms");
    let (events, topic) = (log.originals().await, topic::read(&settings).await);
    assert_eq!(u64::try_from(events.len()).unwrap(), placed);
    let verdict = judge(&events, &topic, 8, &BTreeMap::new());
    assert!(verdict.is_good(), "{verdict:?}");
}

/// Orders that were published, and as many after the relay had died.
async fn place_without_a_relay(log: &Log, settings: &Settings) {
    let relay = Running::start(log, settings);
    log.place_many(40).await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    relay.kill().await;
    log.place_many(40).await;
}

/// A relay that is away will publish the rest when it is back: a slot that left meanwhile would have its
/// later events first. So it does not leave.
#[tokio::test(flavor = "multi_thread")]
async fn given_a_relay_that_is_away_then_its_slots_stay_until_it_is_back() {
    let (log, kafka) = (Log::of(2).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "moving-away", 1);
    place_without_a_relay(&log, &settings).await;

    let slot = Slot::of(&tenant(0));
    let target = 1 - log.store.shard_of(slot).unwrap().0;
    let impatient = MoveOptions {
        relay_patience: Duration::from_millis(300),
        ..MoveOptions::default()
    };
    let refused = carry(&mover(&log, impatient), slot, target).await;
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. }) if reason.contains("moving-away")),
        "{refused:?}"
    );
    log.place(0).await;

    let back = Running::start(&log, &settings);
    let end = carry(&mover(&log, MoveOptions::default()), slot, target).await.unwrap();
    assert!(matches!(end, MoveEnd::Done(_)), "{end:?}");
    log.place(0).await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    back.stop().await.unwrap();
    let (events, topic) = (log.originals().await, topic::read(&settings).await);
    let verdict = judge(&events, &topic, 8, &BTreeMap::new());
    assert!(verdict.is_good() && events.len() == 82, "{verdict:?}");
}

/// The same, without waiting: what the move waits for is what keeps the order.
#[tokio::test(flavor = "multi_thread")]
async fn planted_a_move_that_does_not_wait_for_the_relay_is_noticed() {
    let (log, kafka) = (Log::of(2).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "moving-planted", 1);
    place_without_a_relay(&log, &settings).await;
    let slot = Slot::of(&tenant(0));
    let target = 1 - log.store.shard_of(slot).unwrap().0;
    let careless = MoveOptions {
        abandoned_topics: vec!["moving-planted".to_owned()],
        ..MoveOptions::default()
    };
    carry(&mover(&log, careless), slot, target).await.unwrap();
    let routed = async || log.store.shard_of(slot).ok() == Some(ShardId(target));
    super::eventually("the slot is routed to its new shard", super::SOON, routed).await;
    log.place(0).await;
    let back = Running::start(&log, &settings);
    log.wait_until_published(&settings.kafka.topic.name).await;
    back.stop().await.unwrap();
    let verdict = judge(
        &log.originals().await,
        &topic::read(&settings).await,
        8,
        &BTreeMap::new(),
    );
    println!("without waiting for the relay: {verdict:?}");
    assert_ne!(verdict.missing + verdict.out_of_order, 0);
    assert_ne!(verdict, Verdict::default());
}
