//! Records in a topic, as the relay writes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use event_store::{PositionToken, RecordedEvent, ShardId};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use relay::kafka::{Logging, client_config};
use relay::record;
use service::settings::KafkaSettings;

use super::ReplayProgress;
use crate::error::Error;

/// Records that may be on their way.
const IN_FLIGHT: usize = 10_000;
const IN_FLIGHT_KB: &str = "65536";
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a record may take to be acknowledged, brokers that are away included.
const DELIVERY_MS: &str = "120000";

/// An idempotent and gapless producer: what it delivers to a partition is a run without holes, so a
/// slot's order holds whatever is retried, and it stops at the first record that cannot be delivered.
pub(super) struct KafkaSender {
    producer: FutureProducer<Logging>,
    topic: String,
    partitions: u16,
    /// In the order in which they were sent, which is the order in which they are settled.
    sent: VecDeque<(PositionToken, DeliveryFuture)>,
    progress: Arc<ReplayProgress>,
}

impl KafkaSender {
    pub(super) async fn open(
        settings: &KafkaSettings,
        topic: String,
        progress: Arc<ReplayProgress>,
    ) -> Result<Self, Error> {
        let mut config = client_config(settings).map_err(|error| Error::Settings(error.to_string()))?;
        config.set("acks", "all").set("enable.idempotence", "true");
        config.set("enable.gapless.guarantee", "true");
        config.set("message.timeout.ms", DELIVERY_MS);
        config.set("linger.ms", "5").set("compression.type", "zstd");
        config.set("queue.buffering.max.messages", (2 * IN_FLIGHT).to_string());
        config.set("queue.buffering.max.kbytes", IN_FLIGHT_KB);
        config.set("message.max.bytes", (4 << 20).to_string());
        let producer: FutureProducer<Logging> = config
            .create_with_context(Logging)
            .map_err(Error::kafka("make a producer"))?;
        let partitions = partitions(&producer, &topic).await?;
        Ok(Self {
            producer,
            topic,
            partitions,
            sent: VecDeque::new(),
            progress,
        })
    }

    pub(super) async fn send(&mut self, shard: ShardId, event: &RecordedEvent) -> Result<(), Error> {
        while self.sent.len() >= IN_FLIGHT {
            self.settle_first().await?;
        }
        let encoded = record::encode(event, shard, self.partitions);
        let topic = self.topic.clone();
        let mut record = FutureRecord::to(&topic)
            .key(encoded.key)
            .payload(encoded.payload)
            .partition(encoded.partition)
            .timestamp(encoded.timestamp_ms)
            .headers(encoded.headers);
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => {
                    self.sent.push_back((event.token(), delivery));
                    return Ok(());
                }
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    record = back;
                    self.settle_first().await?;
                }
                Err((error, _)) => return Err(Error::kafka("send a record")(error)),
            }
        }
    }

    /// Waits until all that was sent is acknowledged. Dropping it loses nothing.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        while !self.sent.is_empty() {
            self.settle_first().await?;
        }
        Ok(())
    }

    async fn settle_first(&mut self) -> Result<(), Error> {
        let Some((token, delivery)) = self.sent.front_mut() else {
            return Ok(());
        };
        let (token, delivered) = (*token, delivery.await);
        self.sent.pop_front();
        match delivered {
            Ok(Ok(_)) => {
                self.progress.acknowledge(token);
                Ok(())
            }
            Ok(Err((error, _))) => Err(Error::kafka("deliver a record")(error)),
            Err(_) => Err(Error::Ended),
        }
    }
}

async fn partitions(producer: &FutureProducer<Logging>, topic: &str) -> Result<u16, Error> {
    let (asking, name) = (producer.clone(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = asking.client().fetch_metadata(Some(&name), PATIENCE)?;
        Ok(metadata
            .topics()
            .iter()
            .find(|it| it.name() == name)
            .map_or(0, |it| it.partitions().len()))
    });
    let found = asked
        .await
        .map_err(|_| Error::Ended)?
        .map_err(Error::kafka("read the topic's metadata"))?;
    match u16::try_from(found) {
        Ok(0) | Err(_) => Err(Error::Settings(format!(
            "there is no topic {topic}: make it first, with as many partitions as its readers need"
        ))),
        Ok(partitions) => Ok(partitions),
    }
}
