//! `comanda up`: the whole platform in one process, on one port.
//!
//! Guarantee: what was answered 2xx is durable whatever becomes of this process. A stop that is
//! asked for (SIGTERM, Ctrl-C) ends what stands in front before what stands behind it: requests
//! drain, then the loops end, then the log's queue is committed, and PostgreSQL stops last. A
//! second signal stops at once.
//!
//! Killed at any moment, the process leaves PostgreSQL running and `run.json` behind. The next
//! start adopts the one and replaces the other; neither is needed for correctness. A PostgreSQL
//! that dies is started again while requests are answered 503, and the pools reconnect.

mod banner;
mod health;
mod seed;
mod stack;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use local_postgres::{Config, Located, Server};
use service::health::Health;
use service::http::{harden, serve};
use service::settings::HttpSettings;
use service::telemetry::{self, Metrics};
use service::{Settings, Shutdown};
use tokio::net::TcpListener;
use tokio::time::timeout;

use self::banner::Banner;
use self::stack::Stack;
use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::run_file::{Found, RunFile};
use crate::{platform, signing};

/// How long the loops, and after them the log's queue, may take to end once requests have drained.
const LOOPS_DEADLINE: Duration = Duration::from_secs(5);

/// Start the platform
///
/// Starts a local PostgreSQL in the data folder and supervises it, creates and migrates the
/// databases, and serves REST, GraphQL, health and metrics on one port. Where the settings name
/// databases (control.url, event_store.shards, read_store.url), those are used instead and nothing
/// is started. The first start takes longer; everything is still there at the next.
///
/// Without keys in the settings, tokens are signed with a secret of the data folder, and a tenant
/// `dev` is seeded with an establishment and a few products.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda up
  comanda up --port 9000 --data /srv/comanda
  comanda up --config production.toml -o json 2> comanda.log

The addresses, a development token and an order to place go to stdout, the log to stderr.
SIGTERM and Ctrl-C stop in good order; a second one stops at once.

Exit codes: 0 stopped as asked; 1 could not start or go on; 2 usage; 130 interrupted while starting.")]
pub(crate) struct UpArgs {
    /// The port to serve on; 0 takes a free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Seed the tenant `dev` with a few days of orders too
    #[arg(long)]
    demo: bool,
}

pub(crate) async fn run(context: &Context, args: UpArgs) -> Result<Exit, Failure> {
    let mut loader = context.settings();
    if let Some(port) = args.port {
        loader = loader.flag("http.port", port);
    }
    let mut settings = loader.load().map_err(Failure::usage)?;
    telemetry::init(&settings.log).map_err(Failure::usage)?;
    let configured = Databases::configured(&settings)?;
    let data = folder(context, configured.is_none())?;
    refuse_second(&data)?;
    let listener = listen(&settings.http).await?;
    let development = signing::is_development(&settings.auth);
    settings.auth = signing::with_secret(settings.auth, &data);
    tracing::info!(settings = settings.to_string().replace('\n', "; "), "starting");
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().map_err(Failure::failed)?;
    let start = Start {
        context,
        settings,
        data,
        listener,
        shutdown,
        development,
        demo: args.demo,
    };
    match configured {
        Some(databases) => start.on(databases, None).await,
        None => start.on_local_server().await,
    }
}

/// The data folder. A local server makes its own, so that its user can reach it.
fn folder(context: &Context, local: bool) -> Result<PathBuf, Failure> {
    if local {
        let Located { data, notice } = local_postgres::locate(&context.folder)?;
        if let Some(notice) = notice {
            eprintln!("note: {notice}");
        }
        return Ok(data);
    }
    let data = std::path::absolute(context.asked_for()).map_err(Failure::failed)?;
    std::fs::create_dir_all(&data).map_err(|error| file_failure("create", &data, &error))?;
    Ok(data)
}

fn file_failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot {doing} {}: {error}", path.display()))
        .with_remedy("check owner and mode of the folder, or name another with --data DIR")
}

fn refuse_second(data: &Path) -> Result<(), Failure> {
    // A file that cannot be read is replaced, like a stale one.
    match platform::find_run_file(data) {
        Ok(Found::Running(run)) => {
            let problem = format!(
                "{} is already in use by a running comanda (process {}) at {}",
                data.display(),
                run.pid,
                run.url
            );
            Err(Failure::failed(problem)
                .with_remedy("use that one, stop it first, or start with another --data folder"))
        }
        Ok(Found::Stale | Found::Nothing) | Err(_) => Ok(()),
    }
}

/// Taken first, so that a port in use costs nobody a started database.
async fn listen(http: &HttpSettings) -> Result<TcpListener, Failure> {
    let (host, port) = (http.host.as_str(), http.port);
    TcpListener::bind((host, port))
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Failure::failed(format!("port {port} on {host} is in use by another program"))
                .with_remedy("choose another with --port PORT (0 takes a free one), or stop that program"),
            io::ErrorKind::PermissionDenied => Failure::failed(format!("port {port} on {host} is for root only"))
                .with_remedy("choose one above 1023 with --port PORT"),
            _ => Failure::failed(format!("cannot listen on {host}, port {port}: {error}"))
                .with_remedy("check http.host in the settings"),
        })
}

/// A platform about to start.
struct Start<'a> {
    context: &'a Context,
    settings: Settings,
    data: PathBuf,
    listener: TcpListener,
    /// Stops what stands in front: listener and connections.
    shutdown: Shutdown,
    development: bool,
    demo: bool,
}

impl Start<'_> {
    async fn on_local_server(self) -> Result<Exit, Failure> {
        let shutdown = self.shutdown.clone();
        tracing::info!(data = %self.data.display(), "starting the local PostgreSQL");
        // A start that is given up halfway would leave a server behind, so only the second signal
        // does; the next start adopts it.
        let server = tokio::select! {
            server = Server::start(Config::new(&self.data)) => server?,
            () = shutdown.forced() => return Ok(Exit::Interrupted),
        };
        if shutdown.is_triggered() {
            server.stop().await?;
            return Ok(Exit::Interrupted);
        }
        let outcome = match Databases::of_local(&server).await {
            Ok(databases) => self.on(databases, Some(&server)).await,
            Err(error) => Err(error.into()),
        };
        // Last, whatever happened before.
        let stopped = server.stop().await;
        let exit = outcome?;
        stopped?;
        Ok(exit)
    }

    async fn on(self, databases: Databases, server: Option<&Server>) -> Result<Exit, Failure> {
        if self.development {
            let failed = |error| file_failure("write the development secret in", &self.data, &error);
            signing::ensure_secret(&self.data).map_err(failed)?;
        }
        let health = Health::new(self.shutdown.clone());
        if let Some(server) = server {
            health::watch_server(&health, server);
        }
        // Stops what stands behind the requests, when those have drained.
        let behind = Shutdown::new();
        let stack = tokio::select! {
            stack = Stack::start(&self.settings, &databases, &health, &behind) => stack?,
            () = self.shutdown.cancelled() => return Ok(Exit::Interrupted),
        };
        let outcome = self.serve(&stack, &databases, &health, &behind).await;
        behind.trigger();
        let stopped = behind.wait(LOOPS_DEADLINE).await;
        if !stopped.is_clean() {
            tracing::warn!(left_running = ?stopped.left_running, panicked = ?stopped.panicked, "not every loop ended in good order");
        }
        let closed = timeout(LOOPS_DEADLINE, stack.close()).await;
        if closed.is_err() {
            tracing::warn!(
                "the log's queue was not empty at the deadline; its clients were told that the outcome is unknown"
            );
        }
        let exit = outcome?;
        match stack.failure() {
            Some(failure) => Err(failure),
            None if !stopped.panicked.is_empty() => Err(Failure::failed(format!(
                "{} ended by a panic; see the log",
                stopped.panicked.join(", ")
            ))),
            None => Ok(exit),
        }
    }

    /// Serves until the stop is asked for and requests have drained.
    async fn serve(
        self,
        stack: &Stack,
        databases: &Databases,
        health: &Health,
        behind: &Shutdown,
    ) -> Result<Exit, Failure> {
        let metrics = Metrics::install().map_err(Failure::failed)?;
        let router = stack.router().merge(health.routes()).merge(metrics.routes());
        let router = harden(router, &self.settings.http);
        let address = self.listener.local_addr().map_err(Failure::failed)?;
        let (http, shutdown) = (self.settings.http.clone(), self.shutdown.clone());
        let listener = self.listener;
        let served = tokio::spawn(async move { serve(listener, router, shutdown, &http).await });
        link(&self.shutdown, behind);

        let banner = Banner::new(address, &self.data, &self.settings.auth, self.development)?;
        if let Some(token) = banner.token() {
            seed::seed(banner.url(), token, self.demo).await;
        }
        let run_file = RunFile::of_this_process(banner.url().to_owned(), databases.urls());
        if !self.shutdown.is_triggered() {
            banner.print(self.context)?;
            // After the banner: whoever waits for the file may read that too.
            run_file
                .write(&self.data)
                .map_err(|error| file_failure("write run.json in", &self.data, &error))?;
        }
        let outcome = served.await;
        if let Err(error) = run_file.remove(&self.data) {
            tracing::warn!(error = &error as &dyn std::error::Error, "run.json was not removed");
        }
        let served = outcome.map_err(Failure::failed)?;
        tracing::info!(connections_cut = served.cut, "requests have drained");
        Ok(Exit::Done)
    }
}

/// A loop that ends by a panic stops the process, and a forced stop is forced everywhere.
fn link(front: &Shutdown, behind: &Shutdown) {
    let (front, behind) = (front.clone(), behind.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = behind.cancelled() => front.trigger(),
            () = front.forced() => behind.force(),
        }
    });
}
