//! Read models kept up with any feed.

use std::collections::BTreeMap;

use event_store::ShardId;
use service::Shutdown;
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use crate::engine::Engine;
use crate::error::Error;
use crate::fault::Fault;
use crate::feed::{Feed, Log};
use crate::feeder::Feeder;
use crate::generation;
use crate::intake::Intake;
use crate::model::Registered;
use crate::progress::Progress;

/// Keeps the read models of one read store, from whatever feeds it is given.
#[derive(Debug, Clone)]
pub struct Consumer {
    read_store: PgPool,
    settings: ProjectorSettings,
    models: Vec<Registered>,
    fault: Option<Fault>,
    progress: Progress,
}

impl Consumer {
    /// A consumer for every registered read model.
    pub fn new(read_store: PgPool, settings: ProjectorSettings) -> Self {
        Self::with_models(read_store, settings, crate::registry::all())
    }

    /// A consumer for some read models only.
    pub fn with_models(read_store: PgPool, settings: ProjectorSettings, models: Vec<Registered>) -> Self {
        let progress = Progress::new(models.iter().map(Registered::name).collect());
        Self { read_store, settings, models, fault: Fault::from_environment(), progress }
    }

    /// Plants a bug, for tests of tests.
    #[must_use]
    pub fn with_fault(self, fault: Option<Fault>) -> Self {
        Self { fault, ..self }
    }

    /// What has been committed, and how the feeds are doing.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) fn settings(&self) -> &ProjectorSettings {
        &self.settings
    }

    /// Applies what a feed brings, until it is told to stop. `shard` names the feed.
    ///
    /// # Errors
    /// Where the generations or checkpoints cannot be read at the start.
    pub async fn consume<F: Feed, L: Log>(
        &self,
        shard: ShardId,
        feed: F,
        log: L,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let engine = self.engine().await?;
        self.feeder(shard, feed, log, engine, shutdown).run().await;
        Ok(())
    }

    pub(crate) async fn engine(&self) -> Result<Engine, Error> {
        let generations = generation::ensure(&self.read_store, &self.models).await?;
        Engine::open(self.read_store.clone(), &self.models, generations, self.progress.clone(), self.fault).await
    }

    pub(crate) fn feeder<F, L>(
        &self,
        shard: ShardId,
        feed: F,
        log: L,
        engine: Engine,
        shutdown: Shutdown,
    ) -> Feeder<F, L> {
        self.progress.update(shard, |status| status.start_problem = false);
        Feeder {
            shard,
            feed,
            log,
            engine,
            progress: self.progress.clone(),
            settings: self.settings.clone(),
            shutdown,
            intake: Intake::default(),
            last_behind: None,
            compared: BTreeMap::new(),
        }
    }
}
