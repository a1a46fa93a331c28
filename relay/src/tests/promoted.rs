//! The shard's standby is promoted at the same address, without the end of the log.

use std::collections::BTreeMap;

use local_kafka::testing;
use local_postgres::testing::Replicated;

use super::address::Address;
use super::judge::judge;
use super::log::{Log, open};
use super::running::{Running, settings};
use super::{SOON, eventually, topic};
use crate::published::published;

const TOPIC: &str = "promoted";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_promoted_standby_takes_at_positions_that_were_published_before_is_published_all_the_same() {
    let kafka = testing::shared().await;
    let Replicated {
        standbys,
        primary,
        folder: _folder,
    } = Replicated::start("shard", 1).await;
    let (address, standby) = (Address::of(&primary).await, &standbys[0]);
    let log = Log::on(vec![address.url(&primary, "shard")]).await;
    let settings = settings(&kafka.bootstrap(), TOPIC, 1);
    let relay = Running::start(&log, &settings);
    log.place_many(30).await;
    log.wait_until_published(TOPIC).await;

    let behind = async || {
        let stored = published(&mut open(&standby.url("shard")).await, TOPIC).await.unwrap();
        stored.is_some_and(|it| it.position == it.head && it.head.0 == 30)
    };
    eventually("the standby has all of it", SOON, behind).await;
    // It follows by this slot and no other way.
    let mut old = open(&primary.url("shard")).await;
    eventually("the standby gets no more", SOON, async || {
        for cut_off in [
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active",
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
        ] {
            // It may come back in between.
            let _ = sqlx::query(cut_off).execute(&mut old).await;
        }
        let left = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pg_replication_slots");
        left.fetch_one(&mut old).await.unwrap() == 0
    })
    .await;
    log.place_many(20).await;
    log.wait_until_published(TOPIC).await;
    assert_eq!(log.events().await.len(), 50);

    primary.stop().await.unwrap();
    standby.promote().await.unwrap();
    address.lead_to(standby);
    log.promoted().await;
    assert_eq!(log.events().await.len(), 30, "the end is lost");
    // Twenty of them at positions that the topic has for other events.
    log.place_many(30).await;
    log.wait_until_published(TOPIC).await;
    relay.stop().await.unwrap();

    let (events, mut topic) = (log.events().await, topic::read(&settings).await);
    let published = topic.len();
    topic.retain(|record| {
        let place = (record.event.slot, record.event.slot_position);
        events.get(&place) == Some(&record.event.event_id)
    });
    let void = published - topic.len();
    let verdict = judge(&events, &topic, 8, &BTreeMap::new());
    println!("{} events, {void} void records: {verdict:?}", events.len());
    assert!(verdict.is_good() && events.len() == 60 && void == 20, "{verdict:?}");
}
