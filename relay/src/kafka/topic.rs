//! The topic: made where it is absent, and compared with what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use service::settings::{KafkaSettings, TopicSettings};

use super::client::{Logging, client_config};
use crate::error::Error;
use crate::metric;

/// Room for the largest event, whose request is bounded to 1 MiB, and its headers.
pub(crate) const RECORD_MAX_BYTES: u32 = 4 * 1024 * 1024;

/// Well within a lease: a relay that cannot reach Kafka keeps its shards, lest they go around.
const PATIENCE: Duration = Duration::from_secs(2);

/// A view of the topic. Cheap to clone.
#[derive(Clone)]
pub struct Topic {
    settings: TopicSettings,
    admin: Arc<AdminClient<Logging>>,
    /// Reads metadata and offsets only; it joins no group.
    observer: Arc<BaseConsumer<Logging>>,
}

impl Topic {
    /// Nothing is asked of Kafka yet.
    ///
    /// # Errors
    /// Where the settings are wrong.
    pub fn new(kafka: &KafkaSettings) -> Result<Self, Error> {
        let settings = &kafka.topic;
        let at_least = |what: &str| Error::Settings(format!("topic.{what} must be at least 1"));
        for (what, value) in [
            ("partitions", settings.partitions),
            ("replication", settings.replication),
            ("min_insync", settings.min_insync),
        ] {
            if value == 0 {
                return Err(at_least(what));
            }
        }
        let config = client_config(kafka)?;
        Ok(Self {
            settings: settings.clone(),
            admin: Arc::new(
                config
                    .create_with_context(Logging)
                    .map_err(Error::kafka("make a client"))?,
            ),
            observer: Arc::new(
                config
                    .create_with_context(Logging)
                    .map_err(Error::kafka("make a client"))?,
            ),
        })
    }

    /// Makes sure that the topic is there, with the number of partitions that is part of the
    /// contract. Returns whether it was made just now.
    ///
    /// # Errors
    /// [`Error::Partitions`] where it has another number; [`Error::Kafka`] where Kafka cannot be
    /// asked.
    pub async fn ensure(&self) -> Result<bool, Error> {
        if self.exists().await? {
            return Ok(false);
        }
        let made = self.create().await?;
        // Not every broker need have heard of it yet.
        for _ in 0..50 {
            if self.exists().await? {
                return Ok(made);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(self.missing())
    }

    /// Where each partition ends: one past its last record.
    ///
    /// # Errors
    /// [`Error::TopicMissing`], [`Error::Partitions`] or [`Error::Kafka`].
    pub async fn ends(&self) -> Result<Vec<i64>, Error> {
        if !self.exists().await? {
            return Err(self.missing());
        }
        let (observer, topic, partitions) = self.parts();
        let offsets = tokio::task::spawn_blocking(move || {
            let mut latest = TopicPartitionList::new();
            for partition in 0..i32::from(partitions) {
                latest.add_partition_offset(&topic, partition, Offset::End)?;
            }
            // "The first at or after the latest" is the end, for all partitions in one question.
            observer.offsets_for_times(latest, PATIENCE)
        });
        let offsets = offsets
            .await
            .map_err(|_| Error::Ended)?
            .map_err(Error::kafka("read where the topic ends"))?;
        let mut ends = vec![0; usize::from(self.settings.partitions)];
        for element in offsets.elements() {
            element.error().map_err(Error::kafka("read where the topic ends"))?;
            let place = usize::try_from(element.partition())
                .ok()
                .and_then(|at| ends.get_mut(at));
            if let (Some(end), Offset::Offset(offset)) = (place, element.offset()) {
                *end = offset;
            }
        }
        Ok(ends)
    }

    async fn exists(&self) -> Result<bool, Error> {
        let (observer, topic, expected) = self.parts();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = observer.fetch_metadata(Some(&topic), PATIENCE)?;
            let found = metadata.topics().iter().find(|it| it.name() == topic);
            match found.and_then(|it| it.error()) {
                Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(0),
                Some(error) => Err(KafkaError::MetadataFetch(error.into())),
                // One that is being deleted has no partitions.
                None => Ok(found.map_or(0, |it| it.partitions().len())),
            }
        });
        let found = asked
            .await
            .map_err(|_| Error::Ended)?
            .map_err(Error::kafka("read the topic's metadata"))?;
        metric::kafka_reachable(true);
        if found > 0 && found != usize::from(expected) {
            return Err(Error::Partitions {
                topic: self.settings.name.clone(),
                found,
                expected,
            });
        }
        Ok(found > 0)
    }

    async fn create(&self) -> Result<bool, Error> {
        let settings = &self.settings;
        let (retention, min_insync) = (settings.retention_ms.to_string(), settings.min_insync.to_string());
        let max_bytes = RECORD_MAX_BYTES.to_string();
        let replication = TopicReplication::Fixed(i32::from(settings.replication));
        let topic = NewTopic::new(&settings.name, i32::from(settings.partitions), replication)
            .set("cleanup.policy", "delete")
            .set("retention.ms", &retention)
            .set("min.insync.replicas", &min_insync)
            .set("max.message.bytes", &max_bytes)
            .set("message.timestamp.type", "CreateTime")
            .set("unclean.leader.election.enable", "false");
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let made = self
            .admin
            .create_topics([&topic], &options)
            .await
            .map_err(Error::kafka("create the topic"))?;
        match made.into_iter().next() {
            // Another relay was quicker.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(Error::kafka("create the topic")(KafkaError::AdminOp(code))),
            Some(Ok(_)) | None => {
                tracing::info!(
                    topic = %settings.name, partitions = settings.partitions, replication = settings.replication,
                    "topic created"
                );
                Ok(true)
            }
        }
    }

    fn parts(&self) -> (Arc<BaseConsumer<Logging>>, String, u16) {
        (
            Arc::clone(&self.observer),
            self.settings.name.clone(),
            self.settings.partitions,
        )
    }

    fn missing(&self) -> Error {
        Error::TopicMissing {
            topic: self.settings.name.clone(),
        }
    }

    /// # Errors
    /// [`Error::TopicLost`] where a partition ends before what was acknowledged in it.
    pub(crate) fn compare(&self, acknowledged: &[i64], found: &[i64]) -> Result<(), Error> {
        let lost = acknowledged
            .iter()
            .zip(found)
            .position(|(acknowledged, found)| found < acknowledged);
        match lost {
            None => Ok(()),
            Some(partition) => Err(Error::TopicLost {
                topic: self.settings.name.clone(),
                partition,
                acknowledged: acknowledged[partition],
                found: found[partition],
            }),
        }
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
