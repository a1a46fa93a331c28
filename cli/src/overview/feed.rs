//! The topic: whether Kafka answers, and how far each partition's slots are read.

use serde::Serialize;
use service::settings::KafkaSettings;

use super::reads::{Reached, ReadStoreView};
use super::shard::Head;
use super::{ranges, within};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct TopicView {
    pub(crate) topic: String,
    /// `ok`, or `unreachable` with the reason in `problem`.
    pub(crate) state: String,
    pub(crate) problem: Option<String>,
    pub(crate) partitions: Vec<PartitionView>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PartitionView {
    pub(crate) partition: u16,
    /// Where it ends; `None` where Kafka does not answer.
    pub(crate) end_offset: Option<i64>,
    /// Slots with events that are published here, as ranges.
    pub(crate) slots: String,
    /// Their events in the log.
    pub(crate) events: i64,
    /// By read store: events in the log and not in its read models.
    pub(crate) lag_events: Vec<(String, i64)>,
}

pub(super) async fn look(kafka: &KafkaSettings) -> TopicView {
    let ask = async {
        let topic = relay::kafka::Topic::new(kafka)?;
        topic.ends().await
    };
    let (ends, problem) = match within(ask).await {
        Ok(ends) => (ends, None),
        Err(problem) => (vec![], Some(problem)),
    };
    let partitions = (0..kafka.topic.partitions).map(|partition| PartitionView {
        partition,
        end_offset: ends.get(usize::from(partition)).copied(),
        slots: String::new(),
        events: 0,
        lag_events: vec![],
    });
    TopicView {
        topic: kafka.topic.name.clone(),
        state: if problem.is_none() { "ok" } else { "unreachable" }.to_owned(),
        problem,
        partitions: partitions.collect(),
    }
}

impl TopicView {
    /// Adds what the shards and the read stores know of each partition's slots.
    pub(super) fn with_lag(mut self, heads: &[Head], stores: &[(ReadStoreView, Reached)]) -> Self {
        let count = u16::try_from(self.partitions.len()).unwrap_or(u16::MAX);
        for partition in &mut self.partitions {
            let number = i32::from(partition.partition);
            let mut here: Vec<&Head> = heads
                .iter()
                .filter(|head| head.position.0 > 0 && relay::record::partition_of(head.slot, count) == number)
                .collect();
            here.sort_by_key(|head| head.slot);
            partition.slots = ranges(here.iter().map(|head| head.slot.0));
            partition.events = here.iter().map(|head| head.position.0).sum();
            let primaries = stores
                .iter()
                .filter(|(view, _)| view.standby.is_none() && view.problem.is_none());
            let lag = |reached: &Reached| {
                let read = |head: &Head| reached.get(&head.slot).copied().unwrap_or_default();
                here.iter().map(|head| (head.position.0 - read(head)).max(0)).sum()
            };
            partition.lag_events = primaries
                .map(|(view, reached)| (view.store.clone(), lag(reached)))
                .collect();
        }
        self
    }
}
