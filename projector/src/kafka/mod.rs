//! Read models kept up with the topic.
//!
//! Guarantee: whatever Kafka repeats, loses, forgets or delays, each event changes each read model
//! exactly once. A slot's positions say what a record is: at most the checkpoint, a duplicate;
//! the next, applied; beyond, proof of a loss, and the range is read from the shard. What is lost
//! without a trace is found by comparing checkpoints with the slots' heads: a head beyond a
//! checkpoint is loss once everything up to it was published and the partition was read past where
//! it ended after that; before, it is lag.
//!
//! The processes of a read store are one consumer group; each keeps the slots of the partitions
//! that the group gives it. One that dies loses them to the others after `session_timeout_ms`; one
//! that stops gives them back at once. One that was given up and does not know it is fenced by the
//! compare-and-set of checkpoints.
//!
//! On a crash the next owner begins at the committed offsets, which are behind what was applied:
//! repetitions are dropped. Not needed for correctness: those offsets, the group, Kafka's order
//! across partitions, or Kafka being there. While it is away read models stand still, health says
//! so, and it is tried again.

mod assignment;
mod lane;
mod log;
mod pump;
mod room;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use event_store::{EventStore, ShardId};
use rdkafka::ClientConfig;
use relay::kafka::client_config;
use service::Shutdown;
use service::health::Part;
use service::settings::{KafkaSettings, ProjectorSettings};
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::assignment::{Assignment, Done, Group};
use self::lane::Lane;
use self::log::TopicLog;
use self::pump::Pump;
use self::room::Room;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::progress::Progress;

/// Batches written at the same time, at most.
const LANES: u32 = 4;
/// How long leaving the group may take at the end; the group notices by itself later.
const LEAVE: Duration = Duration::from_secs(5);

/// The cluster's projector: read models kept up from the topic, shared with every other projector
/// of the same read store.
///
/// Uses up to five of the read store's connections, and works with two; one more connection each
/// to the shards than the event store has, two while it looks at them.
#[derive(Debug, Clone)]
pub struct KafkaProjector {
    store: EventStore,
    kafka: KafkaSettings,
    consumer: Consumer,
}

impl KafkaProjector {
    /// A projector of every registered read model. Nothing is asked of a database or of Kafka yet.
    pub fn new(store: EventStore, read_store: PgPool, kafka: &KafkaSettings, settings: ProjectorSettings) -> Self {
        Self::with_consumer(store, kafka, Consumer::new(read_store, settings))
    }

    /// A projector of what `consumer` keeps.
    pub fn with_consumer(store: EventStore, kafka: &KafkaSettings, consumer: Consumer) -> Self {
        let kafka = kafka.clone();
        Self { store, kafka, consumer }
    }

    /// What has been committed, and how the feeds are doing.
    pub fn progress(&self) -> &Progress {
        self.consumer.progress()
    }

    /// How the projector is doing, for `/health`.
    pub fn health(&self) -> Part {
        self.progress().health()
    }

    /// The group that the projectors of this read store form.
    pub fn group(&self) -> String {
        let store = &self.consumer.settings().read_store;
        format!("comanda-projector-{}-{store}", self.kafka.topic.name)
    }

    /// Reads until it is told to stop; then finishes the batches under way, commits offsets and
    /// leaves the group.
    ///
    /// # Errors
    /// What a person must remove first: [`Error::OtherCodeVersion`], or [`Error::Kafka`] where
    /// settings are wrong or the topic has another number of partitions. Databases and a Kafka that
    /// do not answer are waited for. [`Error::Kafka`], too, where the thread that reads the topic ends
    /// by itself.
    pub async fn run(&self, shutdown: Shutdown) -> Result<(), Error> {
        let (fatal, mut failures) = mpsc::unbounded_channel();
        let group = self.group();
        self.progress().update_kafka(|_| {});
        let log = TopicLog::new(self.store.clone(), &self.kafka, &group, self.progress().clone(), fatal)?;
        let config = self.config(&group)?;
        let stop = Shutdown::new();
        let (lanes, pump, mut left) = self.lanes(config);
        let reading = pump.stop.clone();
        let pump = std::thread::Builder::new()
            .name("kafka".to_owned())
            .spawn(move || pump.run());
        let mut running = JoinSet::new();
        for lane in lanes {
            running.spawn(self.clone().lane(lane, log.clone(), stop.clone()));
        }
        drop(log);
        let mut end = pump.map(drop).map_err(|_| Error::Kafka(relay::Error::Ended));
        if end.is_err() {
            stop.trigger();
        }
        let mut ended_early = false;
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => break,
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => {
                        end = end.and(Err(error));
                        stop.trigger();
                    }
                    // Passed on: whoever runs this decides what a panic means for the process.
                    Some(Err(error)) => if let Ok(panic) = error.try_into_panic() {
                        reading.trigger();
                        std::panic::resume_unwind(panic);
                    },
                },
                // Nothing more would ever come, and it was not told to end.
                _ = &mut left, if !ended_early => {
                    ended_early = true;
                    end = end.and(Err(Error::Kafka(relay::Error::Ended)));
                    stop.trigger();
                }
                Some(error) = failures.recv() => {
                    end = end.and(Err(error));
                    stop.trigger();
                }
                () = shutdown.cancelled(), if !stop.is_triggered() => stop.trigger(),
            }
        }
        // The lanes are done: what they applied is committed while the group is left.
        reading.trigger();
        if !ended_early && tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!("Kafka does not let this projector leave the group; it will notice by itself");
        }
        end
    }

    async fn lane(self, lane: Lane, log: TopicLog, shutdown: Shutdown) -> Result<(), Error> {
        // Only a name: lanes are feeds like those of shards.
        let name = ShardId(i16::try_from(lane.number).unwrap_or(i16::MAX));
        self.consumer.consume(name, lane, log, shutdown).await
    }

    /// The lanes, the pump that fills them, and word of its end.
    fn lanes(&self, config: ClientConfig) -> (Vec<Lane>, Pump, oneshot::Receiver<()>) {
        let settings = self.consumer.settings();
        let connections = self.consumer.read_store().options().get_max_connections();
        let count = (connections.saturating_sub(1).clamp(1, LANES) as usize)
            .min(usize::from(self.kafka.topic.partitions.max(1)));
        let (assignment, watched) = watch::channel(Assignment::default());
        let done = Arc::new(Done::default());
        let (mut lanes, mut inlets, mut seen) = (vec![], vec![], vec![]);
        for number in 0..count {
            let (inlet, parcels) = mpsc::unbounded_channel();
            let (ack, acked) = watch::channel(0);
            inlets.push(inlet);
            seen.push(acked);
            lanes.push(Lane {
                number,
                lanes: count,
                partitions: self.kafka.topic.partitions,
                assignment: watched.clone(),
                seen: ack,
                parcels,
                done: Arc::clone(&done),
                known: Assignment::default(),
                kept: None,
                given: BTreeMap::new(),
            });
        }
        let (topic, progress, runtime) = (
            self.kafka.topic.name.clone(),
            self.progress().clone(),
            Handle::current(),
        );
        let (ended, left) = oneshot::channel();
        let group = Group {
            topic: topic.clone(),
            assignment,
            seen,
            done,
            progress,
            runtime,
        };
        let pump = Pump {
            config,
            group: Arc::new(group),
            topic,
            partitions: self.kafka.topic.partitions,
            // Half of it here, half of it in the client's own queue.
            room: Room::new(settings.kafka_queue_kb as usize * 512),
            lanes: inlets,
            stop: Shutdown::new(),
            spoken: HashMap::new(),
            fault: self.consumer.fault(),
            _ended: ended,
        };
        (lanes, pump, left)
    }

    fn config(&self, group: &str) -> Result<ClientConfig, Error> {
        let settings = self.consumer.settings();
        let mut config = client_config(&self.kafka)?;
        config
            .set("group.id", group)
            .set("client.id", "comanda-projector")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", settings.session_timeout_ms.to_string())
            .set(
                "heartbeat.interval.ms",
                (settings.session_timeout_ms / 4).clamp(100, 3_000).to_string(),
            )
            // The thread polls whatever happens; one that does not for this long is wedged.
            .set(
                "max.poll.interval.ms",
                settings.session_timeout_ms.max(60_000).to_string(),
            )
            .set("auto.offset.reset", "earliest")
            // Of what was applied: offsets are stored one by one, and committed now and then.
            .set("enable.auto.offset.store", "false")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set(
                "queued.max.messages.kbytes",
                (settings.kafka_queue_kb / 2).max(1).to_string(),
            )
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            // A topic that is made later, or again, is to be found soon.
            .set("topic.metadata.refresh.interval.ms", "3000");
        Ok(config)
    }
}
