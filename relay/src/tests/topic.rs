//! Reading a topic whole, and what may be done to one.

use std::time::{Duration, Instant};

use event_store::RecordedEvent;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::record::decode;
use crate::settings::Settings;

/// A record as it stands in the topic.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) event: RecordedEvent,
}

/// All records, each partition's in order.
pub(super) async fn read(settings: &Settings) -> Vec<Seen> {
    let mut config = crate::kafka::client_config(&settings.kafka).unwrap();
    config
        .set("group.id", "judge")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false");
    let (topic, partitions) = (
        settings.kafka.topic.name.clone(),
        i32::from(settings.kafka.topic.partitions),
    );
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let (mut seen, mut ended) = (Vec::new(), 0);
        let give_up = Instant::now() + super::SOON;
        while ended < partitions {
            assert!(Instant::now() < give_up, "the topic could not be read to its end");
            match consumer.poll(Duration::from_secs(1)) {
                Some(Ok(message)) => {
                    let event = decode(&message).unwrap();
                    assert_eq!(message.key(), Some(event.stream.tenant().as_str().as_bytes()));
                    seen.push(Seen {
                        partition: message.partition(),
                        event,
                    });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => println!("while reading: {error}"),
                None => {}
            }
        }
        seen
    })
    .await
    .unwrap()
}

fn admin(settings: &Settings) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.kafka.bootstrap);
    config.create().unwrap()
}

pub(super) async fn create(settings: &Settings, partitions: i32) {
    let topic = NewTopic::new(&settings.kafka.topic.name, partitions, TopicReplication::Fixed(1));
    let made = admin(settings)
        .create_topics([&topic], &AdminOptions::new())
        .await
        .unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

pub(super) async fn delete(settings: &Settings) {
    let gone = admin(settings)
        .delete_topics(&[&settings.kafka.topic.name], &AdminOptions::new())
        .await
        .unwrap();
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
}
