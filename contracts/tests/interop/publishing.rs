//! Bringing a log to a topic of its own.

use std::time::{Duration, Instant};

use event_store::{RecordedEvent, ShardId};
use local_kafka::testing;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use relay::Relay;
use relay::kafka::{Topic, client_config};
use service::settings::{KafkaSettings, RelaySettings, TopicSettings};
use service::shutdown::Shutdown;

use crate::log::Log;

pub(crate) const PARTITIONS: u16 = 8;

const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Published {
    pub(crate) kafka: KafkaSettings,
}

async fn topic(name: &str) -> KafkaSettings {
    KafkaSettings {
        bootstrap: testing::shared().await.bootstrap(),
        topic: TopicSettings {
            name: name.to_owned(),
            partitions: PARTITIONS,
            replication: 1,
            min_insync: 1,
            retention_ms: -1,
        },
        ..KafkaSettings::default()
    }
}

/// As in operation.
pub(crate) async fn by_relay(log: &Log, name: &str) -> Published {
    let kafka = topic(name).await;
    let relay = Relay::new(log.store.clone(), &kafka, RelaySettings::default()).unwrap();
    let stop = Shutdown::new();
    let running = tokio::spawn(relay.run(stop.clone()));
    let give_up = Instant::now() + SOON;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !log.is_published(name).await {
        assert!(Instant::now() < give_up, "not published within {SOON:?}");
        look.tick().await;
    }
    stop.trigger();
    running.await.unwrap().unwrap();
    Published { kafka }
}

/// These records in this order, each as a relay makes it.
pub(crate) async fn by_hand(records: &[(ShardId, RecordedEvent)], name: &str) -> Published {
    let kafka = topic(name).await;
    Topic::new(&kafka).unwrap().ensure().await.unwrap();
    let producer: BaseProducer = client_config(&kafka).unwrap().create().unwrap();
    for (shard, event) in records {
        let record = relay::record::encode(event, *shard, PARTITIONS);
        let sent = producer.send(
            BaseRecord::to(name)
                .partition(record.partition)
                .key(record.key)
                .payload(record.payload)
                .timestamp(record.timestamp_ms)
                .headers(record.headers),
        );
        sent.map_err(|(error, _)| error).unwrap();
    }
    tokio::task::spawn_blocking(move || producer.flush(SOON))
        .await
        .unwrap()
        .unwrap();
    Published { kafka }
}
