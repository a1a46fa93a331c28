//! A relay that runs in a task, as a process of its own would.

use std::sync::Arc;

use service::settings::{KafkaSettings, RelaySettings, TopicSettings};
use service::shutdown::Shutdown;
use tokio::task::JoinHandle;

use super::log::Log;
use crate::error::Error;
use crate::relay::Relay;
use crate::session::Faults;
use crate::settings::Settings;
use crate::status::ShardStatus;

pub(super) struct Running {
    stop: Shutdown,
    task: JoinHandle<Result<(), Error>>,
    status: Arc<dyn Fn() -> Vec<ShardStatus> + Send + Sync>,
}

impl Running {
    pub(super) fn start(log: &Log, settings: &Settings) -> Self {
        Self::start_with(log, settings, Faults::default())
    }

    pub(super) fn start_with(log: &Log, settings: &Settings, faults: Faults) -> Self {
        let relay = Relay::new(log.store.clone(), &settings.kafka, settings.relay.clone())
            .unwrap()
            .with_faults(faults);
        let (stop, status) = (Shutdown::new(), Arc::new(relay.status()));
        Self {
            task: tokio::spawn(relay.run(stop.clone())),
            stop,
            status,
        }
    }

    /// As `kill -9` would: nothing is flushed, given back or said.
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(super) async fn stop(self) -> Result<(), Error> {
        self.stop.trigger();
        self.task.await.unwrap()
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(super::SOON, self.task).await.unwrap().unwrap()
    }

    pub(super) fn status(&self) -> Vec<ShardStatus> {
        (self.status)()
    }

    pub(super) fn held(&self) -> usize {
        self.status().iter().filter(|shard| shard.held).count()
    }
}

/// Quick to notice everything; a topic that no other test has.
pub(super) fn settings(bootstrap: &str, topic: &str, replication: u16) -> Settings {
    let topic = TopicSettings {
        name: topic.to_owned(),
        partitions: 8,
        replication,
        min_insync: replication.saturating_sub(1).max(1),
        retention_ms: -1,
    };
    Settings {
        kafka: KafkaSettings {
            bootstrap: bootstrap.to_owned(),
            topic,
            ..KafkaSettings::default()
        },
        relay: RelaySettings {
            lease_ms: 2_000,
            check_interval_ms: 300,
            settle_ms: 1_500,
            retry_max_ms: 500,
            ..RelaySettings::default()
        },
    }
}
