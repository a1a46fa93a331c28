//! Standbys: servers that follow another one by physical streaming replication
//! and answer queries meanwhile.
//!
//! A standby is made by `pg_basebackup` and follows through a replication slot,
//! so that it may be stopped, killed or cut off and catch up afterwards. It has
//! its primary's databases, role and password. A primary that is away is no
//! reason for it to end: it goes on answering from what it has.
use std::ops::Deref;
use std::path::PathBuf;

use sqlx::{Connection, PgConnection};

use crate::server::{self, Config, Origin, Server};
use crate::{Error, cluster};

/// A running, supervised standby; all of [`Server`] holds for it, but that it
/// cannot be written to.
#[derive(Debug)]
pub struct Standby {
    server: Server,
}

/// The server that is copied and followed.
#[derive(Debug, Clone)]
pub(crate) struct Primary {
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) major: Option<u32>,
    /// The authority of its certificate, where it insists on TLS.
    pub(crate) authority: Option<PathBuf>,
    pub(crate) slot: String,
}

impl Standby {
    /// Copies `primary` where `config.data` has no copy yet, then follows it and
    /// waits until queries are answered. `name` is the replication slot: a-z, 0-9
    /// and _, another for every standby of a primary.
    ///
    /// Of `config` the same as for [`Server::start`] holds; `max_connections` may
    /// not be lower than the primary's. Once promoted it starts as what it is, a
    /// server of its own.
    pub async fn start(primary: &Server, name: &str, config: Config) -> Result<Self, Error> {
        if !server::is_database_name(name) {
            return Err(Error::DatabaseName { name: name.to_owned() });
        }
        let copied = cluster::is_made(&config.data);
        match claim_slot(&primary.url("postgres"), name, !copied).await {
            Err(error) if copied => {
                tracing::warn!(%error, slot = name, "the primary of a standby does not answer; starting the standby all the same");
            }
            claimed => claimed.map_err(|source| Error::Database {
                database: "postgres".to_owned(),
                source,
            })?,
        }
        let origin = Origin::CopyOf(Box::new(primary.as_primary(name)));
        let server = Server::begin(config, origin).await?;
        Ok(Self { server })
    }

    /// Makes it a server of its own that can be written to, and waits until it is.
    /// Its primary must be down, or what is written there from now on is lost.
    pub async fn promote(&self) -> Result<(), Error> {
        let failed = |source| Error::Database {
            database: "postgres".to_owned(),
            source,
        };
        let mut admin = PgConnection::connect(&self.url("postgres")).await.map_err(failed)?;
        let promoted = sqlx::query_scalar::<_, bool>("select pg_promote(true, 60)");
        let promoted = promoted.fetch_one(&mut admin).await.map_err(failed)?;
        let _ = admin.close().await;
        if promoted {
            return Ok(());
        }
        Err(Error::NotReady {
            log: self.log(),
            seconds: 60,
        })
    }

    /// Stops it in good order; it can be started again and catches up.
    pub async fn stop(self) -> Result<(), Error> {
        self.server.stop().await
    }
}

impl Deref for Standby {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// The slot keeps the log that the standby has not got yet, from before the copy
/// begins. One of a copy that came to nothing keeps too much and is made anew.
async fn claim_slot(url: &str, name: &str, anew: bool) -> Result<(), sqlx::Error> {
    let mut admin = PgConnection::connect(url).await?;
    if anew {
        let old =
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1 and not active";
        sqlx::query(old).bind(name).execute(&mut admin).await?;
    }
    let new = "select pg_create_physical_replication_slot($1, true)
               where not exists (select from pg_replication_slots where slot_name = $1)";
    sqlx::query(new).bind(name).execute(&mut admin).await?;
    admin.close().await
}
