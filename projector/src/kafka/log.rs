//! The log behind the topic: the shards, and how far each is in the topic.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_store::{EventStore, RecordedEvent, ShardId, Slot, SlotPosition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use relay::PublishedHead;
use relay::kafka::{Logging, Topic, client_config};
use service::settings::KafkaSettings;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::mpsc;

use crate::error::{Error, described};
use crate::feed::{Log, LostWhen, Place, Seen, branches};
use crate::progress::Progress;

const PATIENCE: Duration = Duration::from_secs(2);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct TopicLog {
    store: EventStore,
    pools: Arc<Mutex<BTreeMap<ShardId, PgPool>>>,
    name: String,
    partitions: u16,
    topic: Topic,
    /// Reads the group's offsets; it does not join.
    observer: Arc<BaseConsumer<Logging>>,
    progress: Progress,
    /// What a person must remove first.
    pub(crate) fatal: mpsc::UnboundedSender<Error>,
}

impl TopicLog {
    pub(crate) fn new(
        store: EventStore,
        kafka: &KafkaSettings,
        group: &str,
        progress: Progress,
        fatal: mpsc::UnboundedSender<Error>,
    ) -> Result<Self, Error> {
        let observer = client_config(kafka)?
            .set("group.id", group)
            .create_with_context(Logging)
            .map_err(client)?;
        Ok(Self {
            store,
            pools: Arc::default(),
            name: kafka.topic.name.clone(),
            partitions: kafka.topic.partitions,
            topic: Topic::new(kafka)?,
            observer: Arc::new(observer),
            progress,
            fatal,
        })
    }

    /// Connections to the shard that no reading of events waits for.
    fn pool(&self, shard: ShardId) -> Result<PgPool, Error> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&shard) {
            return Ok(pool.clone());
        }
        let options: PgConnectOptions = self.store.shard_options(shard)?.url.parse().map_err(Error::Published)?;
        let options = options
            .application_name("comanda projector")
            .options([("statement_timeout", "5000")]);
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(3))
            .connect_lazy_with(options);
        pools.insert(shard, pool.clone());
        Ok(pool)
    }

    /// What of the shard was published when, by its own count.
    async fn published(&self, shard: ShardId) -> Result<HashMap<Slot, PublishedHead>, Error> {
        let pool = self.pool(shard)?;
        let mut connection = pool.acquire().await.map_err(Error::Published)?;
        let heads = relay::published_heads(&mut connection, &self.name)
            .await
            .map_err(Error::Published)?;
        Ok(heads.into_iter().map(|head| (head.slot, head)).collect())
    }

    /// Where the partitions begin and end, and where a reader of the group begins. `None` where
    /// Kafka does not say.
    async fn places(&self) -> Option<Vec<Place>> {
        let ends = match self.topic.ends().await {
            Ok(ends) => ends,
            // What was published into it is gone with it.
            Err(relay::Error::TopicMissing { .. }) => {
                self.progress.update_kafka(|kafka| kafka.away = true);
                let gone = (0..i32::from(self.partitions)).map(|partition| place(partition, 0, 0, 0));
                return Some(gone.collect());
            }
            Err(error) => {
                self.say_away(error);
                return None;
            }
        };
        let (observer, name) = (Arc::clone(&self.observer), self.name.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut all = TopicPartitionList::new();
            let mut first = TopicPartitionList::new();
            for partition in 0..ends.len() {
                let partition = i32::try_from(partition).unwrap_or(i32::MAX);
                all.add_partition(&name, partition);
                first.add_partition_offset(&name, partition, Offset::Beginning)?;
            }
            let first = observer.offsets_for_times(first, PATIENCE)?;
            let committed = observer.committed_offsets(all, PATIENCE)?;
            let found = |list: &TopicPartitionList, partition: i32| {
                let element = list.find_partition(&name, partition)?;
                match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                }
            };
            let places = (0..).zip(ends).map(|(partition, end)| {
                let low = found(&first, partition).unwrap_or(0);
                let kept = found(&committed, partition).filter(|kept| (low..=end).contains(kept));
                place(partition, low, end, kept.unwrap_or(low))
            });
            Ok(places.collect())
        });
        match asked.await {
            Ok(Ok(places)) => {
                self.progress.update_kafka(|kafka| kafka.away = false);
                metrics::gauge!("projector_kafka_reachable").set(1.0);
                Some(places)
            }
            Ok(Err(error)) => {
                self.say_away(client(error));
                None
            }
            Err(_) => None,
        }
    }

    fn say_away(&self, error: relay::Error) {
        let why = described(&error);
        tracing::warn!(error = why, "Kafka does not say where the topic ends");
        self.progress.update_kafka(|kafka| kafka.away = true);
        metrics::gauge!("projector_kafka_reachable").set(0.0);
        if error.is_final() {
            // Nobody listens where the process is ending already.
            drop(self.fatal.send(error.into()));
        }
    }
}

fn place(partition: i32, low: i64, end: i64, start: i64) -> Place {
    Place {
        partition,
        low,
        end,
        start,
    }
}

pub(crate) fn client(source: rdkafka::error::KafkaError) -> relay::Error {
    relay::Error::Kafka {
        doing: "read the topic",
        source,
    }
}

impl Log for TopicLog {
    fn parts(&self) -> Vec<ShardId> {
        self.store.shards()
    }

    fn part_of(&self, slot: Slot) -> Option<ShardId> {
        self.store.shard_of(slot).ok()
    }

    async fn read_slot(&self, slot: Slot, after: SlotPosition, limit: usize) -> Result<Vec<RecordedEvent>, Error> {
        Ok(self.store.read_slot(slot, after, limit).await?)
    }

    /// First what was published, then the heads, then where the topic ends: whoever has passed that
    /// end has passed all that was published.
    async fn look(&self, part: ShardId) -> Result<Vec<Seen>, Error> {
        let published = self.published(part).await?;
        let heads = self.store.heads(part).await?;
        let mut branches = branches(&self.store, part).await?;
        let places = self.places().await;
        let place_of = |slot: Slot| {
            let partition = usize::try_from(relay::record::partition_of(slot, self.partitions)).ok()?;
            places.as_ref()?.get(partition).copied()
        };
        let seen = |head: event_store::SlotHead| {
            let published = published.get(&head.slot).filter(|it| it.published);
            let lost_when = match (published, place_of(head.slot)) {
                (Some(published), Some(place)) => LostWhen::Passed {
                    upto: published.slot_position,
                    place,
                },
                _ => LostWhen::Unknown,
            };
            Seen {
                lost_when,
                branches: branches.remove(&head.slot).unwrap_or_default(),
                head,
            }
        };
        Ok(heads.into_iter().map(seen).collect())
    }
}
