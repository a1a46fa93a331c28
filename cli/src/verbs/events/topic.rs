//! Reading the topic without a group: every partition from its beginning, until each has reached the
//! end that it had at the start, or for ever.

use std::collections::HashMap;
use std::sync::Arc;
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
/// How long nothing may come before the partitions are looked at again.
const QUIET: Duration = Duration::from_secs(2);

pub(super) struct TopicTail {
    consumer: Arc<StreamConsumer>,
    topic: String,
    /// Where partitions that are not read to their end ended at the start; `None`: follows for ever.
    ends: Option<HashMap<i32, i64>>,
}

impl TopicTail {
    pub(super) async fn open(kafka: &KafkaSettings, follow: bool) -> Result<Self, Failure> {
        let mut config = relay::kafka::client_config(kafka).map_err(Failure::failed)?;
        // Required by the library, and never used: nothing is committed and no group is joined.
        config.set("group.id", "comanda-events-tail");
        config.set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest");
        let consumer: StreamConsumer = config.create().map_err(Failure::failed)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..i32::from(kafka.topic.partitions) {
            let added = all.add_partition_offset(&kafka.topic.name, partition, Offset::Beginning);
            added.map_err(Failure::failed)?;
        }
        let mut tail = Self {
            consumer: Arc::new(consumer),
            topic: kafka.topic.name.clone(),
            ends: None,
        };
        let partitions = (0..i32::from(kafka.topic.partitions)).collect();
        let ends = tail.not_empty(partitions).await?;
        tail.ends = (!follow).then_some(ends);
        tail.consumer.assign(&all).map_err(Failure::failed)?;
        Ok(tail)
    }

    /// The partitions that hold records now, and where they end.
    async fn not_empty(&self, partitions: Vec<i32>) -> Result<HashMap<i32, i64>, Failure> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut ends = HashMap::new();
            for partition in partitions {
                let (low, end) = consumer.fetch_watermarks(&topic, partition, PATIENCE)?;
                if low < end {
                    ends.insert(partition, end);
                }
            }
            Ok::<_, KafkaError>(ends)
        });
        asked.await.map_err(Failure::failed)?.map_err(|error| {
            Failure::failed(format!("Kafka cannot be asked about the topic {}: {error}", self.topic))
                .with_remedy("start it or correct [kafka]; `--from shards` needs none")
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
                    Err(_) => {
                        self.forget_emptied().await?;
                        continue;
                    }
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

    /// Nothing came for a while: retention may have taken what was still to be read.
    async fn forget_emptied(&mut self) -> Result<(), Failure> {
        let waiting = self.ends.iter().flatten().map(|(partition, _)| *partition).collect();
        let left = self.not_empty(waiting).await?;
        if let Some(ends) = &mut self.ends {
            ends.retain(|partition, _| left.contains_key(partition));
        }
        Ok(())
    }
}
