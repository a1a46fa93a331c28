//! A read store's database, as verbs look at it.

use std::time::Duration;

use clap::Args;
use service::settings::ReadStoreSettings;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::databases::Databases;
use crate::exit::Failure;

/// How long a database may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that a verb takes at most.
const CONNECTIONS: u32 = 8;

/// Which read store.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReadStoreArg {
    /// The read store, by its name in the settings [default: the first one]
    #[arg(long, value_name = "NAME")]
    pub(crate) read_store: Option<String>,
}

impl ReadStoreArg {
    fn find<'a>(&self, databases: &'a Databases) -> Result<&'a ReadStoreSettings, Failure> {
        let stores = databases.read_stores();
        let found = match &self.read_store {
            Some(name) => stores.iter().find(|store| store.name == *name),
            None => stores.first(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
            let asked = self.read_store.as_deref().unwrap_or("any");
            Failure::usage(format!(
                "there is no read store {asked}; there are: {}",
                names.join(", ")
            ))
        })
    }

    /// Connects to it.
    pub(crate) async fn connect(&self, databases: &Databases) -> Result<PgPool, Failure> {
        let store = self.find(databases)?;
        connect(&store.name, store.url.expose()).await
    }

    /// Connects to its first standby.
    pub(crate) async fn connect_replica(&self, databases: &Databases) -> Result<PgPool, Failure> {
        let store = self.find(databases)?;
        let Some(replica) = store.replicas.first() else {
            return Err(Failure::usage(format!("read store {} has no standby", store.name)));
        };
        connect(&replica.name, replica.url.expose()).await
    }
}

async fn connect(name: &str, url: &str) -> Result<PgPool, Failure> {
    let options = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE);
    options
        .connect(url)
        .await
        .map_err(|error| Failure::failed(format!("cannot connect to the read store {name}: {error}")))
}
