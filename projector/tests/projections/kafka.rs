//! Through a real Kafka: whatever it does to the records, the rows are a fold of the log.

use event_store::{PositionToken, RecordedEvent, Slot};
use local_kafka::testing;
use projector::{Consumer, Error, Fault, KafkaProjector, Projector};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::Shutdown;

use crate::support::real::{copy, reached, whole_log};
use crate::support::site::{Member, PARTITIONS, PATIENCE, Site, eventually};
use crate::support::{ALL, rows, samples};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_topic_with_everything_twice_junk_and_holes_then_the_rows_are_a_fold_of_the_log() {
    let site = Site::shared("holes").await;
    let tokens = copy(&site.store, &samples::busy_week().events()).await;
    let log = whole_log(&site.store).await;
    // Every fifth record is lost; every record that is not comes twice.
    let kept: Vec<&RecordedEvent> = log
        .iter()
        .enumerate()
        .filter(|(nth, _)| nth % 5 != 2)
        .map(|(_, it)| it)
        .collect();
    let producer: FutureProducer = site.client().create().expect("a producer");
    for partition in 0..i32::from(PARTITIONS) {
        let junk = FutureRecord::<(), _>::to(&site.kafka.topic.name)
            .partition(partition)
            .payload("junk");
        producer.send(junk, PATIENCE).await.expect("delivered");
    }
    site.publish(kept.iter().copied()).await;
    site.publish(kept.iter().copied()).await;
    site.claim_published().await;
    let member = site.start();
    member.reached(&tokens).await;
    site.assert_rows().await;
    let once = rows::hash(&site.pool).await;
    site.publish(&log).await;
    member.stop().await;
    // From the committed offsets: what came last is read by the next.
    let member = site.start();
    eventually("the repetitions are read", async || {
        committed_to_the_end(&site, &member).await
    })
    .await;
    member.stop().await;
    assert_eq!(rows::hash(&site.pool).await, once);
}

async fn committed_to_the_end(site: &Site, member: &Member) -> bool {
    let group = member.projector.group();
    let (config, topic) = (site.client(), site.kafka.topic.name.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let reader: BaseConsumer = config.clone().set("group.id", group).create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        all.add_partition_range(&topic, 0, i32::from(PARTITIONS) - 1);
        let committed = reader.committed_offsets(all, PATIENCE).expect("offsets");
        committed.elements().iter().all(|element| {
            let (_, end) = reader
                .fetch_watermarks(&topic, element.partition(), PATIENCE)
                .expect("an end");
            end == 0 || element.offset() == rdkafka::Offset::Offset(end)
        })
    });
    looked.await.expect("looked")
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_last_record_that_was_lost_then_it_is_lag_until_it_was_published_and_loss_after() {
    let site = Site::shared("last").await;
    let tokens = copy(&site.store, &samples::busy_week().events()).await;
    let log = whole_log(&site.store).await;
    let last: Vec<PositionToken> = Slot::all()
        .filter_map(|slot| log.iter().rfind(|event| event.slot == slot).map(RecordedEvent::token))
        .collect();
    site.publish(log.iter().filter(|event| !last.contains(&event.token())))
        .await;
    let member = site.start();
    let before: Vec<PositionToken> = tokens.iter().copied().filter(|token| !last.contains(token)).collect();
    member.reached(&before).await;
    // Several comparisons later nothing was taken for lost: nobody said that it was published.
    eventually("compared", async || {
        member
            .projector
            .progress()
            .shards()
            .values()
            .any(|feed| feed.lag_events.values().any(|lag| *lag > 0))
    })
    .await;
    for token in &last {
        assert!(!rows::have_reached(&site.pool, &ALL, token).await, "{token}");
    }
    site.claim_published().await;
    member.reached(&last).await;
    member.stop().await;
    site.assert_rows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_two_projectors_when_one_stops_and_the_feed_changes_then_nothing_is_lost_or_doubled() {
    let site = Site::shared("shared").await;
    let relay = site.relay();
    let events = samples::busy_week().events();
    let parts: Vec<&[RecordedEvent]> = events.chunks(events.len().div_ceil(4)).collect();
    let (first, second) = (site.start(), site.start());
    eventually("both have partitions", async || {
        first.partitions() == 4 && second.partitions() == 4
    })
    .await;
    copy(&site.store, parts[0]).await;
    let tokens = copy(&site.store, parts[1]).await;
    // By either.
    first.reached(&tokens).await;
    second.stop().await;
    let tokens = copy(&site.store, parts[2]).await;
    first.reached(&tokens).await;
    first.stop().await;
    // To the shards' tails and back.
    let tail = Projector::new(site.store.clone(), site.pool.clone(), site.settings());
    let (stop, this) = (Shutdown::new(), tail.clone());
    let told = stop.clone();
    stop.spawn("tail", async move { this.run(told).await.expect("runs") });
    let tokens = copy(&site.store, parts[3]).await;
    for token in &tokens {
        reached(&site.pool, &tail, token).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    let mut world = samples::busy_week();
    let known = world.events().len();
    world.place(&samples::tenant("torino"), &samples::Sample::default());
    let tokens = copy(&site.store, &world.events()[known..]).await;
    let third = site.start();
    third.reached(&tokens).await;
    third.stop().await;
    relay.trigger();
    relay.wait(PATIENCE).await;
    site.assert_rows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_topic_made_again_then_nothing_is_lost_or_doubled() {
    let site = Site::shared("again").await;
    let events = samples::busy_week().events();
    let (before, after) = events.split_at(events.len() / 2);
    let tokens = copy(&site.store, before).await;
    site.publish(&whole_log(&site.store).await).await;
    site.claim_published().await;
    let member = site.start();
    member.reached(&tokens).await;
    site.delete_topic().await;
    site.make_topic().await;
    let known = whole_log(&site.store).await;
    let tokens = copy(&site.store, after).await;
    let log = whole_log(&site.store).await;
    site.publish(
        log.iter()
            .filter(|event| !known.iter().any(|it| it.event_id == event.event_id)),
    )
    .await;
    site.claim_published().await;
    member.reached(&tokens).await;
    member.stop().await;
    site.assert_rows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_broker_that_freezes_and_a_read_store_that_goes_away_then_it_goes_on_afterwards() {
    let cluster = testing::cluster(1).await;
    let site = Site::new(cluster.bootstrap(), "frozen").await;
    let events = samples::busy_week().events();
    let parts: Vec<&[RecordedEvent]> = events.chunks(events.len().div_ceil(3)).collect();
    let relay = site.relay();
    let member = site.start();
    let tokens = copy(&site.store, parts[0]).await;
    member.reached(&tokens).await;
    // Long enough that the group gives the member up.
    let node = cluster.node(1).expect("a node");
    node.freeze().expect("frozen");
    let tokens = copy(&site.store, parts[1]).await;
    member.says("Kafka").await;
    node.thaw().expect("thawed");
    member.reached(&tokens).await;
    sqlx::query("ALTER TABLE daily_sales_g1.days RENAME TO gone")
        .execute(&site.pool)
        .await
        .expect("renamed");
    let tokens = copy(&site.store, parts[2]).await;
    member.says("cannot be written").await;
    sqlx::query("ALTER TABLE daily_sales_g1.gone RENAME TO days")
        .execute(&site.pool)
        .await
        .expect("renamed");
    member.reached(&tokens).await;
    member.stop().await;
    relay.trigger();
    relay.wait(PATIENCE).await;
    site.assert_rows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_the_thread_that_reads_the_topic_ends_by_itself_then_the_projector_ends_with_an_error() {
    let site = Site::shared("ended").await;
    let consumer = Consumer::new(site.pool.clone(), site.settings()).with_fault(Some(Fault::StopReading));
    let projector = KafkaProjector::with_consumer(site.store.clone(), &site.kafka, consumer);
    let ended = tokio::time::timeout(PATIENCE, projector.run(Shutdown::new()));
    let ended = ended.await.expect("it does not go on without it");
    assert!(matches!(ended, Err(Error::Kafka(_))), "{ended:?}");
}
