//! Read models kept up with any feed.

use std::collections::BTreeMap;
use std::sync::Arc;

use event_store::ShardId;
use futures::stream::FuturesUnordered;
use service::Shutdown;
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use crate::engine::Engine;
use crate::error::{Error, described};
use crate::fault::Fault;
use crate::feed::{Feed, Log};
use crate::feeder::Feeder;
use crate::generation;
use crate::intake::Intake;
use crate::model::Registered;
use crate::progress::Progress;
use crate::retry::Retry;

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
        Self {
            read_store,
            settings,
            models,
            fault: Fault::from_environment(),
            progress: Progress::new(),
        }
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

    /// Applies what a feed brings, until it is told to stop. `shard` names the feed.
    ///
    /// Generations that are made, switched or dropped meanwhile are learned of within a second or so.
    /// A read model that only another version of its projection has filled is left alone, and health
    /// says so.
    ///
    /// # Errors
    /// [`Error::SchemaName`]. A read store that does not answer is waited for.
    pub async fn consume<F: Feed, L: Log>(
        &self,
        shard: ShardId,
        feed: F,
        log: L,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        match self.patiently(shard, &shutdown, || self.engine()).await? {
            Some(engine) => self.feeder(shard, feed, log, engine, shutdown).run().await,
            None => tracing::debug!(shard = shard.0, "told to stop before the feed began"),
        }
        Ok(())
    }

    /// Tries to begin until it works or waiting is useless; `None` where it is told to stop.
    pub(crate) async fn patiently<T, Fut: Future<Output = Result<T, Error>>>(
        &self,
        shard: ShardId,
        shutdown: &Shutdown,
        begin: impl Fn() -> Fut,
    ) -> Result<Option<T>, Error> {
        let mut retry = Retry::new(&self.settings);
        while !shutdown.is_triggered() {
            match begin().await {
                Ok(begun) => {
                    self.progress.update(shard, |status| status.start_problem = false);
                    return Ok(Some(begun));
                }
                Err(error) if error.needs_an_operator() => return Err(error),
                Err(error) => {
                    let why = described(&error);
                    tracing::error!(shard = shard.0, error = why, "a feed cannot start; trying again");
                    self.progress.update(shard, |status| status.start_problem = true);
                    retry.pause(shutdown).await;
                }
            }
        }
        Ok(None)
    }

    pub(crate) async fn engine(&self) -> Result<Engine, Error> {
        let standing = generation::standing(&self.read_store, &self.models).await?;
        self.progress.refuse(&standing.refused);
        Engine::open(self.read_store.clone(), standing.fed, self.progress.clone(), self.fault).await
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(crate) fn settings(&self) -> &ProjectorSettings {
        &self.settings
    }

    pub(crate) fn read_store(&self) -> &PgPool {
        &self.read_store
    }

    pub(crate) fn feeder<F: Feed, L: Log>(
        &self,
        shard: ShardId,
        feed: F,
        log: L,
        engine: Engine,
        shutdown: Shutdown,
    ) -> Feeder<F, L> {
        Feeder {
            shard,
            feed,
            log: Arc::new(log),
            engine,
            progress: self.progress.clone(),
            settings: self.settings.clone(),
            shutdown,
            intake: Intake::default(),
            parts: BTreeMap::new(),
            pages: FuturesUnordered::new(),
            looks: FuturesUnordered::new(),
            ages: FuturesUnordered::new(),
            models: self.models.clone(),
            learning: FuturesUnordered::new(),
            suspects: BTreeMap::new(),
            compared: BTreeMap::new(),
            held: None,
            full: false,
        }
    }
}
