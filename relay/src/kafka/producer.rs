//! The producer of one lease: idempotent, gapless, patient.

use std::sync::Arc;

use event_store::{RecordedEvent, ShardId};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use service::settings::Compression;

use super::client::{Logging, client_config};
use crate::error::Error;
use crate::metric;
use crate::record;
use crate::settings::Settings;
use crate::tracker::{Ticket, Tracker};

/// Why a record was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Wait for acknowledgements, then try again.
    Full,
    Failed(Error),
}

pub(crate) struct Producer {
    /// `None` only while it is dropped.
    inner: Option<ThreadedProducer<Deliveries>>,
    topic: String,
    partitions: u16,
    shard: ShardId,
}

impl Producer {
    /// A new one has a new identity: nothing that an earlier one left on its way can be mistaken
    /// for a record of this one.
    pub(crate) fn new(settings: &Settings, shard: ShardId, tracker: Arc<Tracker>) -> Result<Self, Error> {
        let (topic, mut config) = (&settings.kafka.topic, client_config(&settings.kafka)?);
        let settings = &settings.relay;
        config.set("acks", "all").set("enable.idempotence", "true");
        // The first record that cannot be delivered ends the producer: none after it is sent.
        config.set("enable.gapless.guarantee", "true");
        // A message that times out would leave a hole that the ones after it fill. Kafka may be away
        // for as long as it likes; the session notices and says so.
        config.set("message.timeout.ms", "0");
        // For this long a topic that Kafka does not name may be one that was only just made.
        config.set("topic.metadata.propagation.max.ms", "5000");
        config.set("linger.ms", settings.linger_ms.to_string());
        config.set("compression.type", compression(settings.compression));
        config.set(
            "queue.buffering.max.messages",
            settings.in_flight_max.max(1).to_string(),
        );
        config.set(
            "queue.buffering.max.kbytes",
            settings.in_flight_max_kb.max(1_024).to_string(),
        );
        config.set("message.max.bytes", super::topic::RECORD_MAX_BYTES.to_string());
        let inner = config.create_with_context(Deliveries {
            shard: shard.to_string(),
            tracker,
        });
        Ok(Self {
            inner: Some(inner.map_err(Error::kafka("make a producer"))?),
            topic: topic.name.clone(),
            partitions: topic.partitions,
            shard,
        })
    }

    /// Hands a record over; never waits. Its acknowledgement goes to the tracker.
    pub(crate) fn send(&self, event: &RecordedEvent, ticket: Ticket) -> Result<(), Refused> {
        let Some(inner) = &self.inner else {
            return Err(Refused::Full);
        };
        let encoded = record::encode(event, self.shard, self.partitions);
        let record = BaseRecord::with_opaque_to(&self.topic, ticket)
            .key(encoded.key)
            .payload(encoded.payload)
            .partition(encoded.partition)
            .timestamp(encoded.timestamp_ms)
            .headers(encoded.headers);
        inner
            .send(record)
            .map_err(|(error, _)| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => Refused::Full,
                _ => Refused::Failed(Error::Delivery {
                    partition: encoded.partition,
                    source: error,
                }),
            })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        // What has not left stays here: whoever comes next begins at the cursor.
        inner.purge(PurgeConfig::default().queue().inflight().non_blocking());
        // Taking librdkafka down waits for its threads, which no task should.
        std::thread::spawn(move || drop(inner));
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// Hears the acknowledgements, on the producer's own thread.
struct Deliveries {
    shard: String,
    tracker: Arc<Tracker>,
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Ticket;

    fn delivery(&self, delivered: &DeliveryResult<'_>, ticket: Ticket) {
        match delivered {
            Ok(message) => {
                if let Some(recorded_at) = self.tracker.acknowledge(ticket, message.partition(), message.offset()) {
                    metric::published(&self.shard, recorded_at);
                }
            }
            Err((error, message)) => {
                let (partition, source) = (message.partition(), error.clone());
                self.tracker.fail(Error::Delivery { partition, source });
            }
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Logging::line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Logging::trouble(&error, reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.tracker.fail(Error::Delivery {
                partition: -1,
                source: error,
            });
        }
    }
}
