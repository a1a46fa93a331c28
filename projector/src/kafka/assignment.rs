//! Which partitions the group has given to this process, and how far each is done with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use relay::kafka::Logging;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::progress::Progress;

/// How long a rebalance waits for the batches under way with what is taken away. They are fenced by
/// the checkpoints; waiting only spares the next projector from meeting them.
const HAND_OVER: Duration = Duration::from_millis(500);

/// Counts assignments: what was read under an earlier one of a partition is not delivered under a
/// later one.
pub(crate) type Term = u64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Assignment {
    /// Of the last change.
    pub(crate) term: Term,
    /// The partitions, and the change that brought each.
    pub(crate) partitions: BTreeMap<i32, Term>,
}

/// How far partitions are applied, until it is told to the consumer.
#[derive(Debug, Default)]
pub(crate) struct Done(Mutex<BTreeMap<i32, (Term, i64)>>);

impl Done {
    pub(crate) fn put(&self, places: impl IntoIterator<Item = (i32, (Term, i64))>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(places);
    }

    fn take(&self) -> BTreeMap<i32, (Term, i64)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the thread that polls knows of the group.
pub(crate) struct Group {
    pub(crate) topic: String,
    pub(crate) assignment: watch::Sender<Assignment>,
    /// The last change that each lane has seen.
    pub(crate) seen: Vec<watch::Receiver<Term>>,
    pub(crate) done: Arc<Done>,
    pub(crate) progress: Progress,
    pub(crate) runtime: Handle,
}

impl Group {
    /// Has the consumer commit, when it next does, what is applied.
    pub(crate) fn store_offsets(&self, consumer: &BaseConsumer<Membership>) {
        let done = self.done.take();
        if done.is_empty() {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        {
            let assignment = self.assignment.borrow();
            for (partition, (term, next)) in done {
                if assignment.partitions.get(&partition) == Some(&term)
                    && let Err(error) = offsets.add_partition_offset(&self.topic, partition, Offset::Offset(next))
                {
                    tracing::debug!(error = %error, "an offset cannot be kept");
                }
            }
        }
        // A hint of where to begin: checkpoints are the truth, so losing one costs repetitions.
        if offsets.count() > 0
            && let Err(error) = consumer.store_offsets(&offsets)
        {
            tracing::debug!(error = %error, "offsets cannot be kept");
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<i32, Term>, Term)) -> Term {
        metrics::counter!("projector_rebalances_total").increment(1);
        let mut now = (0, 0);
        self.assignment.send_modify(|assignment| {
            assignment.term += 1;
            change(&mut assignment.partitions, assignment.term);
            now = (assignment.term, assignment.partitions.len());
        });
        metrics::gauge!("projector_assigned_partitions").set(now.1 as f64);
        self.progress.update_kafka(|kafka| kafka.partitions = now.1);
        now.0
    }

    fn wait_for_lanes(&self, term: Term) {
        let lanes = self.seen.iter().cloned().map(|mut seen| async move {
            // A lane that has ended has nothing under way.
            drop(seen.wait_for(|seen| *seen >= term).await);
        });
        let all = async { tokio::time::timeout(HAND_OVER, futures::future::join_all(lanes)).await };
        drop(self.runtime.block_on(all));
    }
}

/// One consumer's share in the group; a consumer that failed is replaced.
pub(crate) struct Membership(pub(crate) Arc<Group>);

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Logging.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.0.progress.update_kafka(|kafka| kafka.away = true);
        }
        tracing::warn!(error = %error, reason, "Kafka");
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(given) => {
                let given: Vec<i32> = given.elements().iter().map(|element| element.partition()).collect();
                tracing::info!(partitions = ?given, "partitions given to this projector");
                self.0
                    .change(|partitions, term| partitions.extend(given.iter().map(|it| (*it, term))));
            }
            Rebalance::Revoke(taken) => {
                let taken: Vec<i32> = taken.elements().iter().map(|element| element.partition()).collect();
                tracing::info!(partitions = ?taken, "partitions taken from this projector");
                // Until the lanes have finished, their places still count.
                let before = self.0.assignment.borrow().partitions.clone();
                let term = self
                    .0
                    .change(|partitions, _| partitions.retain(|it, _| !taken.contains(it)));
                self.0.wait_for_lanes(term);
                self.0.assignment.send_if_modified(|assignment| {
                    assignment.partitions.extend(before);
                    false
                });
                self.0.store_offsets(consumer);
                self.0.assignment.send_if_modified(|assignment| {
                    assignment.partitions.retain(|it, _| !taken.contains(it));
                    false
                });
            }
            Rebalance::Error(error) => tracing::warn!(error = %error, "a rebalance failed"),
        }
    }
}
