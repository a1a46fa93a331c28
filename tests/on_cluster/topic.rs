//! What the topic holds, against the log (G6), and what becomes of a topic that is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event_store::Slot;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::{last, say};
use crate::concurrency::assert_guarantees;
use crate::crash::progress;
use crate::support::checker::Log;
use crate::support::cluster::OnCluster;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::topology::Topology;

pub(crate) const PARTITIONS: i32 = 8;
pub(crate) const TOPIC: &str = "comanda.events.v1";
const PATIENCE: Duration = Duration::from_secs(10);

/// The first occurrences of each slot's positions, in the topic's order.
type Firsts = BTreeMap<Slot, (BTreeSet<i64>, Vec<i64>)>;

pub(crate) fn config(on: &OnCluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", on.cluster.kafka().expect("Kafka").bootstrap());
    config.set("group.id", "checker");
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest");
    config
}

/// Every record of the topic, partition by partition as it comes.
fn each(config: &ClientConfig, mut see: impl FnMut(&BorrowedMessage<'_>) -> Result<(), String>) -> Result<(), String> {
    let consumer: BaseConsumer = config.create().map_err(described)?;
    let mut all = TopicPartitionList::new();
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let (low, high) = consumer
            .fetch_watermarks(TOPIC, partition, PATIENCE)
            .map_err(described)?;
        if high > low {
            left.insert(partition, high);
        }
        all.add_partition_offset(TOPIC, partition, Offset::Beginning)
            .map_err(described)?;
    }
    consumer.assign(&all).map_err(described)?;
    while !left.is_empty() {
        let record = match consumer.poll(PATIENCE) {
            None => return Err(format!("Kafka stopped answering before {left:?}")),
            Some(record) => record.map_err(described)?,
        };
        let end = left.get(&record.partition()).copied();
        if end.is_some() {
            see(&record)?;
        }
        if end.is_some_and(|high| record.offset() + 1 >= high) {
            left.remove(&record.partition());
        }
    }
    Ok(())
}

fn described(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn read(config: &ClientConfig) -> Result<Firsts, String> {
    let mut firsts = Firsts::new();
    each(config, |record| {
        let event = relay::record::decode(record).map_err(described)?;
        let slot = firsts.entry(event.slot).or_default();
        if slot.0.insert(event.slot_position.0) {
            slot.1.push(event.slot_position.0);
        }
        Ok(())
    })?;
    Ok(firsts)
}

/// Sends the first record of every order once more, as it was. Returns how many those are.
pub(crate) fn repeat_creations(config: &ClientConfig) -> Result<usize, String> {
    let producer: BaseProducer = config.create().map_err(described)?;
    let mut count = 0;
    each(config, |record| {
        let event = relay::record::decode(record).map_err(described)?;
        if event.event_type == "OrderCreated" {
            let mut copy = BaseRecord::to(TOPIC)
                .partition(record.partition())
                .key(record.key().unwrap_or_default())
                .payload(record.payload().unwrap_or_default());
            if let Some(headers) = record.headers() {
                copy = copy.headers(headers.detach());
            }
            producer.send(copy).map_err(|(error, _)| described(error))?;
            count += 1;
        }
        Ok(())
    })?;
    producer.flush(PATIENCE).map_err(described)?;
    Ok(count)
}

/// What is asked of each slot's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// First occurrences are 1, 2, 3…
    InOrder,
    /// Of a topic that was made again the older part follows the newer; every event is there.
    Whole,
}

/// G6: log minus topic is empty, and first occurrences are in order per slot.
pub(crate) async fn assert_complete(on: &OnCluster) {
    assert_holds(on, Asked::InOrder).await;
}

async fn assert_holds(on: &OnCluster, asked: Asked) {
    let log = Log::read(on.databases()).await;
    eventually(Duration::from_secs(60), || async {
        let config = config(on);
        let firsts = tokio::task::spawn_blocking(move || read(&config))
            .await
            .expect("read")?;
        for (slot, head) in log.heads() {
            let slot = Slot(u16::try_from(slot).expect("a slot"));
            let mut found = firsts.get(&slot).map_or(vec![], |(_, order)| order.clone());
            if asked == Asked::Whole {
                found.sort_unstable();
            }
            let good = found
                .iter()
                .copied()
                .zip(1..=head)
                .take_while(|(found, due)| found == due);
            let good = i64::try_from(good.count()).expect("a count");
            if good < head {
                return Err(format!(
                    "slot {slot}: the topic has {good} of {head} as asked ({asked:?})"
                ));
            }
        }
        Ok(())
    })
    .await;
}

/// The topic is deleted while orders flow. The relays make it again and go back; projectors fetch
/// from the shards what they miss; and the one documented action brings all of it into the topic.
#[tokio::test(flavor = "multi_thread")]
async fn given_a_topic_deleted_while_orders_flow_then_nothing_is_lost_or_doubled() {
    let on = OnCluster::start().await;
    let load = Load::prepare(&on, "topic", 16).await;
    let running = load.start_paced(8, Duration::from_millis(20));
    progress(&load, 300).await;
    say("deleting the topic");
    let admin: AdminClient<DefaultClientContext> = config(&on).create().expect("a client");
    let deleted = admin
        .delete_topics(&[TOPIC], &AdminOptions::new())
        .await
        .expect("asked");
    deleted.into_iter().for_each(|it| drop(it.expect("deleted")));
    progress(&load, 300).await;
    last(Duration::from_secs(3)).await;
    progress(&load, 100).await;
    running.stop().await;
    assert_guarantees(&on, &load).await;
    say("publishing all of it again");
    let output = on.comanda(&["events", "republish"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_holds(&on, Asked::Whole).await;
    assert_guarantees(&on, &load).await;
}
