//! The cluster's PostgreSQL servers.
//!
//! `shards-a` holds the control database and the shards 0 and 1, `shards-b` the shards 2 and 3,
//! `read-0` the read store. Standbys follow `shards-a` (`shards-a-standby`) and `read-0` (`read-1`,
//! `read-2`).

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use local_postgres::testing::throwaway;
use local_postgres::{Config as ServerConfig, Server, Standby};

use crate::config::{Config, Role};
use crate::folder::Folder;
use crate::info::{Databases, ProcessInfo, ShardStandby};
use crate::{Error, ports};

pub(crate) const SHARDS_A: &str = "shards-a";
const SHARDS_B: &str = "shards-b";
const READ_STORE: &str = "read-0";
const CONTROL: &str = "control";
const OF_A: [i16; 2] = [0, 1];
const OF_B: [i16; 2] = [2, 3];
const READ_DATABASE: &str = "read_store";

/// One server, primary or standby; [`Server`] says what can be done with it.
#[derive(Debug)]
pub struct Postgres {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Primary(Server),
    Standby(Standby),
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        match &self.kind {
            Kind::Primary(server) => server,
            Kind::Standby(standby) => standby,
        }
    }
}

impl Postgres {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A standby's own abilities, such as being promoted; `None` for a primary.
    pub fn standby(&self) -> Option<&Standby> {
        match &self.kind {
            Kind::Primary(_) => None,
            Kind::Standby(standby) => Some(standby),
        }
    }

    async fn stop(self) -> Result<(), Error> {
        match self.kind {
            Kind::Primary(server) => server.stop().await?,
            Kind::Standby(standby) => standby.stop().await?,
        }
        Ok(())
    }

    pub(crate) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            name: self.name.clone(),
            role: Role::Postgres,
            pid: self.pid().and_then(|pid| u32::try_from(pid).ok()),
            url: format!("postgres://127.0.0.1:{}", self.port()),
            port: self.port(),
            log: self.log(),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Servers {
    all: Vec<Arc<Postgres>>,
}

impl Servers {
    /// Starts all: primaries first, each with its databases, and their standbys as soon as there is
    /// something to copy.
    pub(crate) async fn start(config: &Config, folder: &Folder) -> Result<Self, Error> {
        let shards_a = async {
            let databases = [CONTROL.to_owned()].into_iter().chain(OF_A.map(shard));
            let primary = primary(config, folder, SHARDS_A, databases.collect()).await?;
            let names = (1..=config.shard_standbys).map(|number| match number {
                1 => format!("{SHARDS_A}-standby"),
                number => format!("{SHARDS_A}-standby-{number}"),
            });
            with_standbys(config, folder, primary, names.collect()).await
        };
        let shards_b = primary(config, folder, SHARDS_B, OF_B.map(shard).to_vec());
        let reads = async {
            let primary = primary(config, folder, READ_STORE, vec![READ_DATABASE.to_owned()]).await?;
            let names = (1..=config.read_standbys).map(|number| format!("read-{number}"));
            with_standbys(config, folder, primary, names.collect()).await
        };
        let ((mut all, b), reads) = try_join(try_join(shards_a, shards_b), reads).await?;
        all.push(b);
        all.extend(reads);
        Ok(Self {
            all: all.into_iter().map(Arc::new).collect(),
        })
    }

    pub(crate) fn all(&self) -> &[Arc<Postgres>] {
        &self.all
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Postgres, Error> {
        let found = self.all.iter().find(|server| server.name == name);
        found.map(AsRef::as_ref).ok_or_else(|| Error::NoSuch(name.to_owned()))
    }

    pub(crate) fn databases(&self) -> Result<Databases, Error> {
        let (a, b, read) = (self.get(SHARDS_A)?, self.get(SHARDS_B)?, self.get(READ_STORE)?);
        let shards_of = |server: &Postgres, ids: [i16; 2]| ids.map(|id| server.url(&shard(id)));
        let standbys_of = |primary: &'static str| {
            let prefix = if primary == READ_STORE { "read-" } else { primary };
            let all = self.all.iter();
            all.filter(move |server| server.name.starts_with(prefix) && server.standby().is_some())
        };
        Ok(Databases {
            control: a.url(CONTROL),
            shards: [shards_of(a, OF_A), shards_of(b, OF_B)].concat(),
            shard_standbys: standbys_of(SHARDS_A)
                .map(|standby| ShardStandby {
                    name: standby.name.clone(),
                    shards: OF_A.to_vec(),
                    urls: shards_of(standby, OF_A).to_vec(),
                    control: Some(standby.url(CONTROL)),
                })
                .collect(),
            read_store: read.url(READ_DATABASE),
            read_store_replicas: standbys_of(READ_STORE)
                .map(|standby| standby.url(READ_DATABASE))
                .collect(),
        })
    }

    /// The standbys of the read store, as the settings name them.
    pub(crate) fn read_standbys(&self) -> Vec<(String, String)> {
        let standbys = self
            .all
            .iter()
            .filter(|server| server.name.starts_with("read-") && server.standby().is_some());
        standbys
            .map(|server| (server.name.clone(), server.url(READ_DATABASE)))
            .collect()
    }

    /// Standbys first: a primary that stops waits until they have everything.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        let all = self.all.into_iter().filter_map(Arc::into_inner);
        let (standbys, primaries): (Vec<_>, Vec<_>) = all.partition(|server| server.standby().is_some());
        try_join_all(standbys.into_iter().map(Postgres::stop)).await?;
        try_join_all(primaries.into_iter().map(Postgres::stop)).await?;
        Ok(())
    }
}

fn shard(id: i16) -> String {
    format!("shard_{id}")
}

async fn primary(config: &Config, folder: &Folder, name: &str, databases: Vec<String>) -> Result<Postgres, Error> {
    let data = folder.postgres(name);
    let server = Server::start(server_config(config, &data)).await?;
    for database in databases {
        server.ensure_database(&database).await?;
    }
    Ok(Postgres {
        name: name.to_owned(),
        kind: Kind::Primary(server),
    })
}

async fn with_standbys(
    config: &Config,
    folder: &Folder,
    primary: Postgres,
    names: Vec<String>,
) -> Result<Vec<Postgres>, Error> {
    let standbys = names.into_iter().map(|name| {
        let primary = &primary;
        async move {
            let data = folder.postgres(&name);
            let slot = name.replace('-', "_");
            let standby = Standby::start(primary, &slot, server_config(config, &data)).await?;
            Ok::<_, Error>(Postgres {
                name,
                kind: Kind::Standby(standby),
            })
        }
    });
    let mut all = try_join_all(standbys).await?;
    all.insert(0, primary);
    Ok(all)
}

/// Ports that stay free while a server is down, unlike those that the kernel gives out.
fn server_config(config: &Config, data: &Path) -> ServerConfig {
    let base = if config.throwaway {
        throwaway(data)
    } else {
        ServerConfig::new(data)
    };
    let port = if data.join("postgres/port").exists() {
        None
    } else {
        ports::free(1).first().copied()
    };
    ServerConfig {
        port,
        max_connections: 250,
        shared_buffers_mb: Some(config.shared_buffers_mb),
        ..base
    }
}
