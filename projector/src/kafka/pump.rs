//! The thread that reads the topic.
//!
//! Guarantee: it goes on polling whatever the read store does, so the group never loses this member
//! for being slow; what it has read and is not applied stays within `kafka_queue_kb`. It ends only
//! when it is told to, and leaves the group then, so that the others take over at once. A consumer
//! that fails for good is replaced.
//!
//! On a crash the group notices after `session_timeout_ms`. Not needed for correctness: committed
//! offsets (only a hint of where to begin), and being the only reader of a partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use service::Shutdown;
use tokio::sync::{mpsc, oneshot};

use super::assignment::{Group, Membership, Term};
use super::lane::{Parcel, lane_of};
use super::room::Room;
use crate::fault::Fault;

/// Records of one parcel, at most: what a batch is made of.
const PARCEL: usize = 250;
/// Records read before parcels are sent.
const READ_AHEAD: usize = 2_000;
const TICK: Duration = Duration::from_millis(50);
/// How long a queue that is full is waited for before reading is paused, which throws away what was
/// fetched.
const FULL: Duration = Duration::from_millis(500);
/// What an event takes beside its payload, roughly.
const OVERHEAD: usize = 1_024;
/// How often records that are not ours are spoken of, per partition.
const SPEAK_AGAIN: Duration = Duration::from_secs(60);

pub(crate) struct Pump {
    pub(crate) config: ClientConfig,
    pub(crate) group: Arc<Group>,
    pub(crate) topic: String,
    pub(crate) partitions: u16,
    pub(crate) room: Arc<Room>,
    pub(crate) lanes: Vec<mpsc::UnboundedSender<Parcel>>,
    pub(crate) stop: Shutdown,
    pub(crate) spoken: HashMap<i32, Instant>,
    pub(crate) fault: Option<Fault>,
    /// Dropped last, whatever ends the thread: says that the group is left.
    pub(crate) _ended: oneshot::Sender<()>,
}

impl Pump {
    /// Reads until it is told to stop.
    pub(crate) fn run(mut self) {
        while !self.stop.is_triggered() && self.fault != Some(Fault::StopReading) {
            let consumer = self.config.create_with_context(Membership(Arc::clone(&self.group)));
            let read = consumer.and_then(|consumer: BaseConsumer<Membership>| {
                consumer.subscribe(&[&self.topic])?;
                self.read(&consumer)
            });
            if let Err(error) = read {
                tracing::error!(error = %error, "the consumer failed; making another");
                std::thread::sleep(FULL);
            }
        }
    }

    fn read(&mut self, consumer: &BaseConsumer<Membership>) -> Result<(), KafkaError> {
        let (mut paused, mut trouble) = (false, None);
        while !self.stop.is_triggered() {
            self.group.store_offsets(consumer);
            let room = self.room.wait(if paused { Duration::ZERO } else { FULL });
            if room && paused {
                consumer.resume(&consumer.assignment()?)?;
                paused = false;
            } else if !room {
                // Again each time: partitions may have been added.
                consumer.pause(&consumer.assignment()?)?;
                paused = true;
            }
            self.poll(consumer, &mut trouble)?;
        }
        self.group.store_offsets(consumer);
        Ok(())
    }

    /// Polls for a while and sends on what came.
    fn poll(
        &mut self,
        consumer: &BaseConsumer<Membership>,
        trouble: &mut Option<KafkaError>,
    ) -> Result<(), KafkaError> {
        let mut parcels: BTreeMap<(i32, Term), Parcel> = BTreeMap::new();
        let mut wait = TICK;
        for _ in 0..READ_AHEAD {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    *trouble = None;
                    self.pack(&message, &mut parcels);
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => {
                    hear(&self.group, &error);
                    if trouble.as_ref() != Some(&error) {
                        tracing::warn!(error = %error, "Kafka cannot be read; trying again");
                    }
                    *trouble = Some(error);
                }
            }
            wait = Duration::ZERO;
        }
        parcels.into_values().for_each(|parcel| self.send(parcel));
        Ok(())
    }

    fn pack(&mut self, message: &BorrowedMessage<'_>, parcels: &mut BTreeMap<(i32, Term), Parcel>) {
        metrics::counter!("projector_records_total").increment(1);
        let partition = message.partition();
        let Some(term) = self.group.assignment.borrow().partitions.get(&partition).copied() else {
            return;
        };
        let parcel = parcels.entry((partition, term)).or_insert_with(|| Parcel {
            partition,
            term,
            events: vec![],
            next: 0,
            _room: vec![],
        });
        parcel.next = message.offset() + 1;
        parcel._room.push(self.room.take(message.payload_len() + OVERHEAD));
        match relay::record::decode(message) {
            Ok(event) if relay::record::partition_of(event.slot, self.partitions) == partition => {
                parcel.events.push(event);
            }
            Ok(_) => self.pass_over(partition, "it is in another slot's partition"),
            Err(error) => self.pass_over(partition, &error.to_string()),
        }
        if parcel.events.len() >= PARCEL
            && let Some(parcel) = parcels.remove(&(partition, term))
        {
            self.send(parcel);
        }
    }

    /// Nothing of ours can be lost by that unnoticed: positions would show it.
    fn pass_over(&mut self, partition: i32, why: &str) {
        metrics::counter!("projector_foreign_records_total").increment(1);
        let now = Instant::now();
        if self.spoken.get(&partition).is_none_or(|last| now - *last > SPEAK_AGAIN) {
            self.spoken.insert(partition, now);
            tracing::warn!(partition, why, "records that are not Comanda's are passed over");
        }
    }

    fn send(&self, parcel: Parcel) {
        if let Some(lane) = self.lanes.get(lane_of(parcel.partition, self.lanes.len())) {
            // A lane that has ended takes no more; the process is ending.
            drop(lane.send(parcel));
        }
    }
}

fn hear(group: &Group, error: &KafkaError) {
    let away = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
        )
    );
    if away {
        group.progress.update_kafka(|kafka| kafka.away = true);
    }
}
