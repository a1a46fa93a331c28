//! `comanda up`: the whole platform in one process, on one port.
//!
//! What [`crate::process`] promises holds here; PostgreSQL stops last of all.
//!
//! Killed at any moment, the process leaves PostgreSQL running and `run.json` behind. The next
//! start adopts the one and replaces the other; neither is needed for correctness. A PostgreSQL
//! that dies is started again while requests are answered 503, and the pools reconnect.

mod banner;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use local_postgres::{Config, Located, Server};

use self::banner::Banner;
use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::parts::{self, PartError, health};
use crate::process::{Process, start_logging};
use crate::registry;
use crate::run_file::{Found, RunFile};
use crate::{archiving, platform, seed, signing};

/// Start the platform
///
/// Starts a local PostgreSQL in the data folder and supervises it, creates and migrates the
/// databases, and serves REST, GraphQL, health and metrics on one port. Where the settings name
/// databases (control.url, event_store.shards, read_stores), those are used instead and nothing
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
    /// Seed the tenant `dev` with a week of orders too
    #[arg(long)]
    demo: bool,
}

pub(crate) async fn run(context: &Context, args: UpArgs) -> Result<Exit, Failure> {
    let mut loader = context.settings();
    if let Some(port) = args.port {
        loader = loader.flag("http.port", port);
    }
    let mut settings = loader.load().map_err(Failure::usage)?;
    start_logging(&settings)?;
    let configured = Databases::configured(&settings)?;
    let data = folder(context, configured.is_none())?;
    refuse_second(&data)?;
    let development = signing::is_development(&settings.auth);
    settings.auth = signing::with_secret(settings.auth, &data);
    let start = Start {
        context,
        data,
        development,
        demo: args.demo,
    };
    let process = Process::begin(settings).await?;
    match configured {
        Some(databases) => start.on(process, databases).await,
        None => start.on_local_server(process).await,
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

/// A platform about to start.
struct Start<'a> {
    context: &'a Context,
    data: PathBuf,
    development: bool,
    demo: bool,
}

impl Start<'_> {
    async fn on_local_server(self, process: Process) -> Result<Exit, Failure> {
        let front = process.front.clone();
        tracing::info!(data = %self.data.display(), "starting the local PostgreSQL");
        // A start that is given up halfway would leave a server behind, so only the second signal
        // does; the next start adopts it.
        let server = tokio::select! {
            server = Server::start(Config::new(&self.data)) => server?,
            () = front.forced() => return Ok(Exit::Interrupted),
        };
        if front.is_triggered() {
            server.stop().await?;
            return Ok(Exit::Interrupted);
        }
        health::watch_server(&process.health, &server);
        let outcome = match Databases::of_local(&server).await {
            Ok(databases) => self.on(process, databases).await,
            Err(error) => Err(error.into()),
        };
        // Last, whatever happened before.
        let stopped = server.stop().await;
        let exit = outcome?;
        stopped?;
        Ok(exit)
    }

    async fn on(self, mut process: Process, databases: Databases) -> Result<Exit, Failure> {
        if self.development {
            let failed = |error| file_failure("write the development secret in", &self.data, &error);
            signing::ensure_secret(&self.data).map_err(failed)?;
        }
        databases.fill(&mut process.settings);
        let (front, auth) = (process.front.clone(), process.settings.auth.clone());
        let begin = async |process: &Process| {
            databases.migrate().await.map_err(PartError::from)?;
            databases.lay_out().await.map_err(PartError::from)?;
            let parts = parts::all(process, &databases).await?;
            registry::announce(process, "up")?;
            if let Some(folder) = &process.settings.backup.folder {
                // Shards that were added may lie on servers of their own.
                let all = databases.clone().with_registered().await;
                archiving::keep(folder, &all, &process.health, &process.behind).await?;
            }
            Ok(parts)
        };
        let announce = async |address: SocketAddr| {
            let banner = Banner::new(address, &self.data, &auth, self.development)?;
            if let Some(token) = banner.token() {
                seed::seed(banner.url(), token, self.demo).await;
            }
            let written = Written {
                file: RunFile::of_this_process(banner.url().to_owned(), databases.urls()),
                data: self.data.clone(),
            };
            if !front.is_triggered() {
                banner.print(self.context)?;
                // After the banner: whoever waits for the file may read that too.
                let failed = |error| file_failure("write run.json in", &self.data, &error);
                written.file.write(&self.data).map_err(failed)?;
            }
            Ok(written)
        };
        process.serve(begin, announce).await
    }
}

/// `run.json`, removed when the platform no longer serves.
struct Written {
    file: RunFile,
    data: PathBuf,
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Err(error) = self.file.remove(&self.data) {
            tracing::warn!(error = &error as &dyn std::error::Error, "run.json was not removed");
        }
    }
}
