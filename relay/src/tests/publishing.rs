//! What a topic holds when nothing fails, and what is refused.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use local_kafka::testing;
use service::settings::SecurityProtocol;

use super::judge::{Verdict, judge};
use super::log::Log;
use super::running::{Running, settings};
use super::topic;
use crate::error::Error;
use crate::settings::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_once_in_order_in_the_partition_of_its_slot() {
    let (log, kafka) = (Log::of(2).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "publishing-all", 1);
    log.place_many(200).await;
    let relay = Running::start(&log, &settings);
    log.place_many(200).await;
    log.wait_until_published(&settings.kafka.topic.name).await;
    relay.stop().await.unwrap();

    let (events, topic) = (log.events().await, topic::read(&settings).await);
    assert_eq!(events.len(), 400);
    assert_eq!(judge(&events, &topic, 8, &BTreeMap::new()), Verdict::default());
    for record in &topic {
        let id = record.event.stream.id();
        assert_eq!(
            record.event.payload.get(),
            format!("{{ \"type\":\"OrderCreated\" , \"order_id\":\"{id}\"}}")
        );
    }
    read_by_another_program(&settings, events.len());
}

/// kcat sees a CloudEvent in binary mode.
fn read_by_another_program(settings: &Settings, count: usize) {
    let mut kcat = Command::new("kcat");
    kcat.args([
        "-q",
        "-C",
        "-e",
        "-o",
        "beginning",
        "-b",
        &settings.kafka.bootstrap,
        "-t",
        &settings.kafka.topic.name,
    ]);
    let said = kcat.args(["-f", "%k %h\n"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(text.lines().count(), count);
    for line in text.lines() {
        let (tenant, headers) = line.split_once(' ').unwrap();
        let headers: BTreeMap<_, _> = headers.split(',').filter_map(|it| it.split_once('=')).collect();
        for (name, value) in [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_type", "OrderCreated"),
            ("ce_dataschema", "urn:comanda:event:OrderCreated:1.0"),
            ("ce_eventversion", "1.0"),
            ("ce_sequence", "1"),
            ("ce_actor", "till 1"),
            ("ce_tenantid", tenant),
        ] {
            assert_eq!(headers.get(name), Some(&value), "{name} in {line}");
        }
        assert_eq!(headers["ce_source"], format!("/tenants/{tenant}"));
        assert!(headers["ce_subject"].starts_with("order/"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_another_number_of_partitions_is_refused() {
    let (log, kafka) = (Log::of(1).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "publishing-other-partitions", 1);
    topic::create(&settings, 3).await;
    let ended = Running::start(&log, &settings).ended().await;
    let error = ended.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Partitions {
                found: 3,
                expected: 8,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("topic of another name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_slots_that_moved_away_are_passed_over() {
    let (log, kafka) = (Log::of(1).await, testing::shared().await);
    let settings = settings(&kafka.bootstrap(), "publishing-moved", 1);
    log.place_many(80).await;
    let (gone, _) = *log.events().await.keys().next().unwrap();
    let mut shard = log.shard(0).await;
    sqlx::query("UPDATE slots SET owned = false WHERE slot = $1")
        .bind(i16::try_from(gone.0).unwrap())
        .execute(&mut shard)
        .await
        .unwrap();
    // As a move would bring it: the last events of the log, so that the cursor must pass them.
    sqlx::query(
        "WITH brought AS ( \
             INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
                                 position, slot_position, recorded_at, event_id, slot, copied, tenant_id) \
             SELECT aggregate_type, aggregate_id || '-brought', sequence, event_type, event_version, payload, metadata, \
                    position + 1, slot_position + 1000, recorded_at, event_id, slot, true, tenant_id \
               FROM events ORDER BY position DESC LIMIT 1 RETURNING position) \
         UPDATE shard SET position = (SELECT position FROM brought)",
    )
    .execute(&mut shard)
    .await
    .unwrap();

    let relay = Running::start(&log, &settings);
    log.wait_until_published(&settings.kafka.topic.name).await;
    relay.stop().await.unwrap();
    let (events, topic) = (log.events().await, topic::read(&settings).await);
    assert_eq!(judge(&events, &topic, 8, &BTreeMap::new()), Verdict::default());
    assert!(topic.iter().all(|record| record.event.slot != gone));
    assert!(events.len() < 80 && topic.len() == events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_name_and_a_password_opens_kafka_and_a_wrong_one_does_not() {
    let (log, secure) = (Log::of(1).await, testing::secure().await);
    log.place_many(10).await;
    let mut settings = settings(&secure.cluster.secure_bootstrap(), "publishing-secure", 1);
    let file = secure.cluster.folder().join("password");
    settings.kafka.security = SecurityProtocol::SaslTls;
    settings.kafka.ca_file = Some(secure.ca_file.clone());
    settings.kafka.username = Some(secure.username.clone());
    settings.kafka.password_file = Some(file.clone());

    std::fs::write(&file, "wrong").unwrap();
    let stranger = Running::start(&log, &settings);
    let trouble = async || stranger.status().iter().any(|shard| shard.trouble.is_some());
    super::eventually("a wrong password is reported", super::SOON, trouble).await;
    stranger.stop().await.unwrap();
    assert!(!log.is_published(&settings.kafka.topic.name).await);

    std::fs::write(&file, format!("{}\n", secure.password)).unwrap();
    let relay = Running::start(&log, &settings);
    log.wait_until_published(&settings.kafka.topic.name).await;
    relay.stop().await.unwrap();
    let (events, topic) = (log.events().await, topic::read(&settings).await);
    assert_eq!(judge(&events, &topic, 8, &BTreeMap::new()), Verdict::default());
}
