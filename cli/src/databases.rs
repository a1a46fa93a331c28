//! The platform's databases: where they are, and their schemas.

use event_store::{ShardId, ShardOptions};
use std::time::Duration;

use futures::future::try_join_all;
use local_postgres::Server;
use migrations::{Database, MigrateError, Report, SchemaError};
use service::Settings;
use service::settings::{DatabaseUrl, ReadStoreSettings, ShardSettings};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::exit::Failure;
use crate::run_file::DatabaseUrls;

/// How long a database may take to take a connection, or to answer a small question.
const PATIENCE: Duration = Duration::from_secs(4);

/// Shards of a local platform.
const LOCAL_SHARDS: i16 = 4;

/// Where the databases are. The URLs carry passwords: no `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) struct Databases {
    control: String,
    shards: Vec<(i16, String)>,
    read_stores: Vec<ReadStoreSettings>,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Target<'a> {
    pub(crate) name: String,
    pub(crate) kind: Database,
    pub(crate) url: &'a str,
}

/// What keeps a database from being used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("cannot connect to the database {name}")]
    Connect { name: String, source: sqlx::Error },
    #[error("the database {name} does not answer")]
    NoAnswer { name: String },
    #[error("the database {name} was not migrated")]
    Migrate { name: String, source: MigrateError },
    #[error("the shards were not given their slots")]
    Bootstrap(#[from] event_store::Error),
    #[error("the read models of {name} were not created")]
    ReadModels { name: String, source: projector::Error },
}

impl Databases {
    /// The databases that the settings name; `None` where they name none.
    pub(crate) fn configured(settings: &Settings) -> Result<Option<Self>, Failure> {
        let missing = [
            ("control.url", settings.control.url.is_empty()),
            ("event_store.shards", settings.event_store.shards.is_empty()),
            ("read_stores", settings.read_stores.is_empty()),
        ];
        let names: Vec<&str> = missing
            .iter()
            .filter(|(_, missing)| *missing)
            .map(|(name, _)| *name)
            .collect();
        if names.len() == missing.len() {
            return Ok(None);
        }
        if !names.is_empty() {
            let problem = format!(
                "the settings name some of the databases, but not {}",
                names.join(" and ")
            );
            return Err(Failure::usage(problem).with_remedy(
                "name all of control.url, event_store.shards and read_stores, or none to run them locally",
            ));
        }
        let shards = settings
            .event_store
            .shards
            .iter()
            .map(|shard| (shard.id, shard.url.expose().to_owned()));
        Ok(Some(Self {
            control: settings.control.url.expose().to_owned(),
            shards: shards.collect(),
            read_stores: settings.read_stores.clone(),
        }))
    }

    /// The databases of a local server, created where they are missing.
    pub(crate) async fn of_local(server: &Server) -> Result<Self, local_postgres::Error> {
        let shards: Vec<(i16, String)> = (0..LOCAL_SHARDS).map(|id| (id, format!("shard_{id}"))).collect();
        let names = ["control", "read_store"]
            .into_iter()
            .chain(shards.iter().map(|(_, name)| name.as_str()));
        try_join_all(names.map(|name| server.ensure_database(name))).await?;
        Ok(Self {
            control: server.url("control"),
            shards: shards.iter().map(|(id, name)| (*id, server.url(name))).collect(),
            read_stores: vec![ReadStoreSettings::main(DatabaseUrl::new(server.url("read_store")))],
        })
    }

    /// The databases of a running local platform.
    pub(crate) fn of_running(urls: DatabaseUrls) -> Self {
        Self {
            control: urls.control,
            shards: (0..).zip(urls.shards).collect(),
            read_stores: vec![ReadStoreSettings::main(DatabaseUrl::new(urls.read_store))],
        }
    }

    /// The same, and the shards that only the control database knows. Where it does not answer, or
    /// was never migrated, those of the settings are all that is known.
    pub(crate) async fn with_registered(mut self) -> Self {
        let known = async {
            let mut control = PgConnection::connect(&self.control).await.ok()?;
            event_store::all_shards(&mut control, &self.shard_options()).await.ok()
        };
        if let Ok(Some(all)) = timeout(PATIENCE, known).await {
            self.shards = all.into_iter().map(|shard| (shard.id.0, shard.url)).collect();
        }
        self
    }

    /// The URLs, as other verbs find them.
    pub(crate) fn urls(&self) -> DatabaseUrls {
        DatabaseUrls {
            control: self.control.clone(),
            shards: self.shards.iter().map(|(_, url)| url.clone()).collect(),
            read_store: self
                .read_stores
                .first()
                .map_or_else(String::new, |store| store.url.expose().to_owned()),
        }
    }

    pub(crate) fn control(&self) -> &str {
        &self.control
    }

    /// Each shard's id and URL.
    pub(crate) fn shards(&self) -> &[(i16, String)] {
        &self.shards
    }

    pub(crate) fn shard_options(&self) -> Vec<ShardOptions> {
        let shards = self.shards.iter().map(|(id, url)| ShardOptions {
            id: ShardId(*id),
            url: url.clone(),
        });
        shards.collect()
    }

    /// The read stores with their standbys.
    pub(crate) fn read_stores(&self) -> &[ReadStoreSettings] {
        &self.read_stores
    }

    /// The settings of a process that works on these databases.
    pub(crate) fn fill(&self, settings: &mut Settings) {
        settings.control.url = DatabaseUrl::new(&self.control);
        let shards = self.shards.iter().map(|(id, url)| ShardSettings {
            id: *id,
            url: DatabaseUrl::new(url),
            url_file: None,
        });
        settings.event_store.shards = shards.collect();
        settings.read_stores.clone_from(&self.read_stores);
    }

    pub(crate) fn targets(&self) -> Vec<Target<'_>> {
        let mut targets = vec![Target {
            name: "control".to_owned(),
            kind: Database::Control,
            url: &self.control,
        }];
        targets.extend(self.shards.iter().map(|(id, url)| Target {
            name: format!("shard_{id}"),
            kind: Database::EventStore,
            url,
        }));
        // Standbys get what is written to their primaries.
        targets.extend(self.read_stores.iter().map(|store| Target {
            name: format!("read_store {}", store.name),
            kind: Database::ReadStore,
            url: store.url.expose(),
        }));
        targets
    }

    /// Brings every database to this binary's schema.
    pub(crate) async fn migrate(&self) -> Result<Vec<(Target<'_>, Report)>, DatabaseError> {
        try_join_all(self.targets().into_iter().map(|target| async {
            let report = target.migrate().await?;
            Ok((target, report))
        }))
        .await
    }

    /// Gives a fresh platform's slots to its shards, and every read model its first generation.
    pub(crate) async fn lay_out(&self) -> Result<(), DatabaseError> {
        let failed = |name: &str| {
            let name = name.to_owned();
            move |source| DatabaseError::Connect { name, source }
        };
        let mut control = PgConnection::connect(&self.control).await.map_err(failed("control"))?;
        let shards = self.shard_options();
        event_store::bootstrap(&mut control, &shards).await?;
        close(control).await;
        for store in &self.read_stores {
            let name = format!("read_store {}", store.name);
            let pool = PgPool::connect(store.url.expose()).await.map_err(failed(&name))?;
            let laid_out = projector::ensure_generations(&pool).await;
            pool.close().await;
            laid_out.map_err(|source| DatabaseError::ReadModels { name, source })?;
        }
        Ok(())
    }
}

impl Target<'_> {
    /// Bounded: a server that hangs takes connections and never answers.
    async fn connect(&self) -> Result<PgConnection, DatabaseError> {
        let name = || self.name.clone();
        match timeout(PATIENCE, PgConnection::connect(self.url)).await {
            Ok(connected) => connected.map_err(|source| DatabaseError::Connect { name: name(), source }),
            Err(_) => Err(DatabaseError::NoAnswer { name: name() }),
        }
    }

    pub(crate) async fn migrate(&self) -> Result<Report, DatabaseError> {
        let mut connection = self.connect().await?;
        let report = migrations::migrate(self.kind, &mut connection)
            .await
            .map_err(|source| DatabaseError::Migrate {
                name: self.name.clone(),
                source,
            })?;
        close(connection).await;
        Ok(report)
    }

    /// Whether the schema is the one this binary was built for.
    pub(crate) async fn check(&self) -> Result<Result<(), SchemaError>, DatabaseError> {
        let mut connection = self.connect().await?;
        let state = timeout(PATIENCE, migrations::check(self.kind, &mut connection)).await;
        let state = state.map_err(|_| DatabaseError::NoAnswer {
            name: self.name.clone(),
        })?;
        close(connection).await;
        Ok(state)
    }
}

async fn close(connection: PgConnection) {
    // What was asked is answered; a connection that breaks while it is closed is closed.
    let _ = timeout(PATIENCE, connection.close()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: i16) -> ShardSettings {
        ShardSettings {
            id,
            url: DatabaseUrl::new(format!("postgres://h/shard_{id}")),
            url_file: None,
        }
    }

    #[test]
    fn given_no_database_in_the_settings_then_the_local_ones_count() {
        assert!(Databases::configured(&Settings::default()).unwrap().is_none());
    }

    #[test]
    fn given_some_of_the_databases_then_the_missing_ones_are_named() {
        let mut settings = Settings::default();
        settings.event_store.shards = vec![shard(0)];
        let refused = Databases::configured(&settings)
            .err()
            .map(|refused| format!("{refused:?}"));
        assert!(refused.unwrap().contains("control.url and read_stores"));
    }

    #[test]
    fn given_all_databases_then_each_shard_is_a_target() {
        let mut settings = Settings::default();
        settings.event_store.shards = vec![shard(0), shard(7)];
        settings.control.url = DatabaseUrl::new("postgres://h/control");
        settings.read_stores = vec![ReadStoreSettings::main(DatabaseUrl::new("postgres://h/read_store"))];
        let databases = Databases::configured(&settings).unwrap().unwrap();
        let names: Vec<String> = databases.targets().into_iter().map(|target| target.name).collect();
        assert_eq!(names, ["control", "shard_0", "shard_7", "read_store main"]);
        assert_eq!(databases.shards()[1], (7, "postgres://h/shard_7".to_owned()));
    }
}
