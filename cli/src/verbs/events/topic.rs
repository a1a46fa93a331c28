//! Reading the topic without a group: every partition from its beginning, until each has reached the
//! end that it had at the start, or for ever.

use std::collections::HashMap;
use std::time::Duration;

use event_store::RecordedEvent;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use service::settings::KafkaSettings;
use tokio::time::timeout;

use crate::exit::Failure;

/// How long the brokers may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Aborted and control records take offsets too, so the last ones may never come.
const QUIET: Duration = Duration::from_secs(2);

pub(super) struct TopicTail {
    consumer: StreamConsumer,
    /// The offsets still to come, by partition; `None`: follows for ever.
    ends: Option<HashMap<i32, i64>>,
}

impl TopicTail {
    pub(super) async fn open(kafka: &KafkaSettings, follow: bool) -> Result<Self, Failure> {
        let mut config = relay::kafka::client_config(kafka).map_err(Failure::failed)?;
        // Required by the library, and never used: nothing is committed and no group is joined.
        config.set("group.id", "comanda-events-tail");
        config.set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest");
        let topic = relay::kafka::Topic::new(kafka).map_err(Failure::failed)?;
        let ends = timeout(PATIENCE, topic.ends()).await;
        let ends = ends.map_err(|_| no_answer())?.map_err(Failure::failed)?;
        let consumer: StreamConsumer = config.create().map_err(Failure::failed)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..i32::from(kafka.topic.partitions) {
            let added = all.add_partition_offset(&kafka.topic.name, partition, Offset::Beginning);
            added.map_err(Failure::failed)?;
        }
        consumer.assign(&all).map_err(Failure::failed)?;
        let ends = (0..).zip(ends).filter(|(_, end)| *end > 0).collect();
        Ok(Self {
            consumer,
            ends: (!follow).then_some(ends),
        })
    }

    /// The next event; `None` at the end. What is not Comanda's is passed over.
    pub(super) async fn next(&mut self) -> Result<Option<RecordedEvent>, Failure> {
        loop {
            let received = match &self.ends {
                None => self.consumer.recv().await,
                Some(ends) if ends.is_empty() => return Ok(None),
                Some(_) => match timeout(QUIET, self.consumer.recv()).await {
                    Ok(received) => received,
                    Err(_) if self.at_ends()? => return Ok(None),
                    Err(_) => continue,
                },
            };
            let record = match received {
                Ok(record) => record,
                // The library goes on by itself.
                Err(KafkaError::MessageConsumption(code)) => {
                    eprintln!("note: Kafka says: {code}; going on");
                    continue;
                }
                Err(error) => return Err(Failure::failed(error)),
            };
            if let Some(ends) = &mut self.ends
                && ends
                    .get(&record.partition())
                    .is_some_and(|end| record.offset() + 1 >= *end)
            {
                ends.remove(&record.partition());
            }
            match relay::record::decode(&record) {
                Ok(event) => return Ok(Some(event)),
                Err(error) => eprintln!(
                    "note: partition {} offset {}: {error}; passed over",
                    record.partition(),
                    record.offset()
                ),
            }
        }
    }

    /// Whether every partition was read to where it ended, by the consumer's own position.
    fn at_ends(&self) -> Result<bool, Failure> {
        let position = self.consumer.position().map_err(Failure::failed)?;
        let reached = |partition: i32, end: i64| {
            position.elements().iter().any(|element| {
                element.partition() == partition && matches!(element.offset(), Offset::Offset(offset) if offset >= end)
            })
        };
        Ok(self
            .ends
            .iter()
            .flatten()
            .all(|(partition, end)| reached(*partition, *end)))
    }
}

fn no_answer() -> Failure {
    Failure::failed(format!("Kafka did not answer within {} s", PATIENCE.as_secs()))
        .with_remedy("start it or correct [kafka]; `--from shards` needs none")
}
