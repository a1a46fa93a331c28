//! Starting, using and stopping the local server.
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::account::Account;
use crate::cluster::{self, Layout};
use crate::lock::Lock;
use crate::postmaster::{self, Launch};
use crate::process::Process;
use crate::recovery::Recovery;
use crate::settings::{Durability, Options};
use crate::standby::Primary;
use crate::supervisor::{Order, State, Supervisor};
use crate::tls::{Tls, TlsFiles};
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
    /// Memory for pages; `None` takes an eighth of the machine's, at most 1 GiB.
    pub shared_buffers_mb: Option<u32>,
    /// What a power cut may take; anything but [`Durability::Durable`] is for tests.
    pub durability: Durability,
    /// With a certificate, nobody gets in without TLS.
    pub tls: Option<Tls>,
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
            shared_buffers_mb: None,
            durability: Durability::Durable,
            tls: None,
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
    authority: Option<PathBuf>,
    state: watch::Receiver<State>,
    orders: Option<mpsc::Sender<Order>>,
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
        Self::begin(config, Origin::New).await
    }

    pub(crate) async fn begin(config: Config, origin: Origin) -> Result<Self, Error> {
        let limit = config.start_timeout;
        let data = config.data.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&config, &origin)).await;
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
        let (orders, given) = mpsc::channel(1);
        let (port, layout) = (launch.port, launch.layout.clone());
        let authority = launch.options.tls.as_ref().map(|tls| tls.authority.clone());
        let supervisor = Supervisor {
            launch,
            state,
            orders: given,
        };
        Ok(Self {
            port,
            password,
            layout,
            authority,
            state: watched,
            orders: Some(orders),
            supervisor: Some(tokio::spawn(supervisor.run(process))),
            _lock: lock,
        })
    }

    /// The URL of a database of this server. It carries the password.
    pub fn url(&self, database: &str) -> String {
        cluster::url(self.port, &self.password, database, self.authority.as_deref())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process number of the server while it serves.
    pub fn pid(&self) -> Option<i32> {
        match *self.state.borrow() {
            State::Serving { pid } => Some(pid),
            State::Down { .. } | State::Stopped => None,
        }
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

    /// Ends every process of the server at once, as a power cut would, and leaves
    /// it down until [`Server::restart`]. Returns once they are gone.
    pub async fn kill(&self) -> Result<(), Error> {
        let (done, killed) = oneshot::channel();
        self.order(Order::Kill(done)).await?;
        killed.await.map_err(|_| self.unsupervised())?
    }

    /// Starts the server that was killed and waits until it serves. One that is
    /// serving stays as it is.
    pub async fn restart(&self) -> Result<(), Error> {
        self.order(Order::Start).await?;
        let mut state = self.state.clone();
        let serves = state.wait_for(|state| matches!(state, State::Serving { .. })).await;
        serves.map(|_| ()).map_err(|_| self.unsupervised())
    }

    /// Halts every process of the server where it is: connections stay open and
    /// get no answer. To the supervisor it still serves.
    pub fn freeze(&self) {
        // Twice: a helper that was being started while the first went round.
        postmaster::signal_all(&self.layout.cluster(), Signal::SIGSTOP);
        postmaster::signal_all(&self.layout.cluster(), Signal::SIGSTOP);
    }

    /// Ends [`Server::freeze`].
    pub fn thaw(&self) {
        postmaster::signal_all(&self.layout.cluster(), Signal::SIGCONT);
    }

    async fn order(&self, order: Order) -> Result<(), Error> {
        match &self.orders {
            Some(orders) => orders.send(order).await.map_err(|_| self.unsupervised()),
            None => Err(self.unsupervised()),
        }
    }

    /// The supervisor has ended, which it does by itself only where a server does not.
    fn unsupervised(&self) -> Error {
        Error::io("supervise the server in", &self.layout.folder)(std::io::ErrorKind::BrokenPipe.into())
    }

    pub(crate) fn as_primary(&self, slot: &str) -> Primary {
        Primary {
            port: self.port,
            password: self.password.clone(),
            major: self.layout.made_by(),
            authority: self.authority.clone(),
            slot: slot.to_owned(),
        }
    }

    /// Stops the server in good order; the data is closed and complete after it.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.orders.take());
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
        drop(self.orders.take());
        if postmaster::works_in(served, &self.layout.cluster()) {
            postmaster::signal(served, Signal::SIGINT);
            postmaster::signal_all(&self.layout.cluster(), Signal::SIGCONT);
        }
    }
}

pub(crate) fn is_database_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Where the data of a server comes from when there is none yet.
pub(crate) enum Origin {
    New,
    CopyOf(Box<Primary>),
    Recovered(Box<Recovery>),
}

struct Prepared {
    lock: Lock,
    password: String,
    launch: Launch,
    port_is_fixed: bool,
}

/// Everything up to the start itself; files and short programs only.
fn prepare(config: &Config, origin: &Origin) -> Result<Prepared, Error> {
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
    let mut recovering = None;
    let (binaries, following) = match origin {
        Origin::New => {
            let binaries = layout.binaries(config.programs.as_deref(), None)?;
            layout.initialise(&binaries, &account)?;
            (binaries, None)
        }
        Origin::Recovered(recovery) => {
            let binaries = layout.binaries(config.programs.as_deref(), recovery.major())?;
            recovering = Some(recovery.prepare(&layout, &account)?);
            (binaries, None)
        }
        Origin::CopyOf(primary) => {
            let binaries = layout.binaries(config.programs.as_deref(), primary.major)?;
            layout.copy(primary, &binaries, &account, config.durability)?;
            (binaries, Some(layout.following(primary, &account)?))
        }
    };
    let password = secret::read(&layout.password())?;
    let port = match config.port.or_else(|| port::remembered(&layout.port())) {
        Some(port) => port,
        None => port::free()?,
    };
    let tls = config.tls.as_ref();
    let tls = tls
        .map(|tls| TlsFiles::install(tls, &layout.folder, &account))
        .transpose()?;
    let options = Options {
        connections: config.max_connections,
        durability: config.durability,
        shared_buffers_mb: config.shared_buffers_mb,
        tls,
        following,
        recovering,
    };
    let launch = Launch {
        layout,
        binaries,
        account,
        port,
        options,
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
