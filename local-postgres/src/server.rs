//! Starting, using and stopping the local server.
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::account::Account;
use crate::cluster::{self, Layout};
use crate::lock::Lock;
use crate::postmaster::{self, Launch};
use crate::process::Process;
use crate::settings::Durability;
use crate::supervisor::{State, Supervisor};
use crate::{Error, port, secret};

/// What to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder, as [`crate::locate`] settled it.
    pub data: PathBuf,
    /// The port on 127.0.0.1; `None` takes a free one and keeps it.
    pub port: Option<u16>,
    /// The folder of PostgreSQL's programs; `None` finds the newest.
    pub programs: Option<PathBuf>,
    /// How many clients may be connected at once.
    pub max_connections: u16,
    /// How long the first start may take, recovery after a crash included.
    pub start_timeout: Duration,
}

impl Config {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let start_timeout = Duration::from_secs(300);
        Self {
            data: data.into(),
            port: None,
            programs: None,
            max_connections: 200,
            start_timeout,
        }
    }
}

/// A running, supervised PostgreSQL. Stop it with [`Server::stop`]; dropping it
/// asks the server to end as well, but waits for nothing.
pub struct Server {
    port: u16,
    password: String,
    layout: Layout,
    state: watch::Receiver<State>,
    stop: Option<oneshot::Sender<()>>,
    supervisor: Option<JoinHandle<Result<(), Error>>>,
    /// Held as long as the server may be ours.
    _lock: Lock,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of logs.
        f.debug_struct("Server")
            .field("port", &self.port)
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Makes the data where there is none, starts the server or adopts the one
    /// that a killed process left, and waits until it serves.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let limit = config.start_timeout;
        let data = config.data.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&config)).await;
        let lost = |error| Error::io("set up", &data)(std::io::Error::other(error));
        let Prepared {
            lock,
            password,
            mut launch,
            port_is_fixed,
        } = prepared.map_err(lost)??;
        let mut process = bring_up(&mut launch, port_is_fixed, limit).await?;
        if let Err(error) = port::remember(&launch.layout.port(), launch.port) {
            process.end(&launch).await?;
            return Err(error);
        }
        let (state, watched) = watch::channel(State::Serving { pid: process.pid });
        let (stop, stopped) = oneshot::channel();
        let (port, layout) = (launch.port, launch.layout.clone());
        let supervisor = tokio::spawn(
            Supervisor {
                launch,
                state,
                stop: stopped,
            }
            .run(process),
        );
        Ok(Self {
            port,
            password,
            layout,
            state: watched,
            stop: Some(stop),
            supervisor: Some(supervisor),
            _lock: lock,
        })
    }

    /// The URL of a database of this server. It carries the password.
    pub fn url(&self, database: &str) -> String {
        cluster::url(self.port, &self.password, database)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's own log.
    pub fn log(&self) -> PathBuf {
        self.layout.log()
    }

    /// How the server is doing, now and on every change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Creates the database unless it exists.
    pub async fn ensure_database(&self, name: &str) -> Result<(), Error> {
        const EXISTS_ALREADY: &str = "42P04";
        if !is_database_name(name) {
            return Err(Error::DatabaseName { name: name.to_owned() });
        }
        let failed = |source| Error::Database {
            database: name.to_owned(),
            source,
        };
        let mut admin = PgConnection::connect(&self.url("postgres")).await.map_err(failed)?;
        let known = sqlx::query("select from pg_database where datname = $1").bind(name);
        if known.fetch_optional(&mut admin).await.map_err(failed)?.is_none() {
            match admin.execute(format!("create database \"{name}\"").as_str()).await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(EXISTS_ALREADY) => {}
                Err(error) => return Err(failed(error)),
                Ok(_) => {}
            }
        }
        admin.close().await.map_err(failed)
    }

    /// Stops the server in good order; the data is closed and complete after it.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop.take());
        match self.supervisor.take() {
            Some(supervisor) => {
                let failed = |error| Error::io("stop the server in", &self.layout.folder)(std::io::Error::other(error));
                supervisor.await.map_err(failed)?
            }
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The supervisor stops the server once it sees its stop channel closed;
        // at the end of a runtime it no longer gets to, so the server is told too.
        let served = match *self.state.borrow() {
            State::Serving { pid } => pid,
            State::Down { .. } | State::Stopped => return,
        };
        drop(self.stop.take());
        if postmaster::works_in(served, &self.layout.cluster()) {
            postmaster::signal(served, Signal::SIGINT);
        }
    }
}

fn is_database_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

struct Prepared {
    lock: Lock,
    password: String,
    launch: Launch,
    port_is_fixed: bool,
}

/// Everything up to the start itself; files and short programs only.
fn prepare(config: &Config) -> Result<Prepared, Error> {
    let data: &Path = &config.data;
    let account = Account::for_cluster(&data.join("postgres").join("cluster"))?;
    if !account.reaches(data) {
        return Err(Error::OutOfReach {
            folder: data.to_owned(),
            account: account.name(),
        });
    }
    let layout = Layout::create(data, &account)?;
    let lock = Lock::take(&layout.lock(), data)?;
    let binaries = layout.binaries(config.programs.as_deref())?;
    layout.initialise(&binaries, &account)?;
    let password = secret::read(&layout.password())?;
    let port = match config.port.or_else(|| port::remembered(&layout.port())) {
        Some(port) => port,
        None => port::free()?,
    };
    let connections = config.max_connections;
    let launch = Launch {
        layout,
        binaries,
        account,
        port,
        connections,
        durability: Durability::Durable,
    };
    Ok(Prepared {
        lock,
        password,
        launch,
        port_is_fixed: config.port.is_some(),
    })
}

/// Adopts or starts, and waits until it serves. A port that was merely free, or
/// ours last time, gives way to whoever has taken it; a configured one does not.
async fn bring_up(launch: &mut Launch, port_is_fixed: bool, limit: Duration) -> Result<Process, Error> {
    const TRIES: u32 = 5;
    if let Some(mut adopted) = Process::adopt(launch).await? {
        match adopted.ready(launch, limit).await {
            Ok(()) => return Ok(adopted),
            // It was on its way out, or cannot serve: a start of our own will tell.
            Err(error) => tracing::warn!(%error, "the PostgreSQL left running is of no use; starting one"),
        }
        adopted.end(launch).await?;
    }
    for left in (0..TRIES).rev() {
        let mut process = Process::spawn(launch).await?;
        let error = match process.ready(launch, limit).await {
            Ok(()) => return Ok(process),
            Err(error) => error,
        };
        process.end(launch).await?;
        if port_is_fixed || left == 0 || !matches!(error, Error::PortInUse { .. }) {
            return Err(error);
        }
        launch.port = port::free()?;
    }
    Err(Error::PortInUse { port: launch.port })
}
