//! A process that serves: its listener, the loops behind it, and the order in which it all ends.
//!
//! Guarantee: what was answered 2xx is durable whatever becomes of this process. A stop that is
//! asked for (SIGTERM, Ctrl-C) ends what stands in front before what stands behind it: requests
//! drain, then the loops end, then the log's queue is committed. A second signal stops at once.
//!
//! A loop that cannot go on, or panics, stops the process: half of it would work, and nobody would
//! look. Killed at any moment, it leaves nothing behind that the next start needs.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service::health::Health;
use service::http::{harden, serve};
use service::settings::HttpSettings;
use service::telemetry::{self, Metrics};
use service::{Settings, Shutdown};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::exit::{Exit, Failure};
use crate::parts::Parts;

/// How long the loops, and after them the log's queue, may take to end once requests have drained.
const LOOPS_DEADLINE: Duration = Duration::from_secs(8);

/// A process about to serve.
pub(crate) struct Process {
    pub(crate) settings: Settings,
    pub(crate) health: Health,
    /// Stops what stands in front: listener and connections.
    pub(crate) front: Shutdown,
    /// Stops what stands behind the requests, when those have drained.
    pub(crate) behind: Shutdown,
    listener: TcpListener,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl Process {
    /// Takes the port first, so that one in use costs nobody a started database.
    pub(crate) async fn begin(settings: Settings) -> Result<Self, Failure> {
        let listener = listen(&settings.http).await?;
        tracing::info!(settings = settings.to_string().replace('\n', "; "), "starting");
        let front = Shutdown::new();
        front.listen_to_signals().map_err(Failure::failed)?;
        Ok(Self {
            settings,
            health: Health::new(front.clone()),
            front,
            behind: Shutdown::new(),
            listener,
            failure: Arc::default(),
        })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, Failure> {
        self.listener.local_addr().map_err(Failure::failed)
    }

    /// Runs a loop until the stop; where it fails, the process ends with that.
    pub(crate) fn run<F, E>(&self, name: &'static str, run: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let (shutdown, failure) = (self.behind.clone(), Arc::clone(&self.failure));
        let running = run(shutdown.clone());
        self.behind.spawn(name, async move {
            if let Err(error) = running.await {
                tracing::error!(
                    part = name,
                    error = &error as &dyn Error,
                    "a part cannot go on; stopping the process"
                );
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure::failed(error));
                shutdown.trigger();
            }
        });
    }

    /// Serves until the stop is asked for, then ends everything in order. `begin` builds the parts
    /// and is given up when the stop comes first; `announce` runs once requests are answered.
    pub(crate) async fn serve<B, A, G>(self, begin: B, announce: A) -> Result<Exit, Failure>
    where
        B: AsyncFnOnce(&Self) -> Result<Parts, Failure>,
        A: AsyncFnOnce(SocketAddr) -> Result<G, Failure>,
    {
        let begun = tokio::select! {
            begun = begin(&self) => Some(begun),
            () = self.front.cancelled() => None,
        };
        let (parts, served) = match begun {
            None => (Parts::default(), Ok(Exit::Interrupted)),
            Some(Err(failure)) => (Parts::default(), Err(failure)),
            Some(Ok(parts)) => {
                link(&self.front, &self.behind);
                let router = parts.router.clone();
                let listener = self.listener;
                let health = &self.health;
                let served = answer(listener, router, health, &self.settings.http, &self.front, announce).await;
                (parts, served)
            }
        };
        self.behind.trigger();
        let stopped = self.behind.wait(LOOPS_DEADLINE).await;
        if !stopped.is_clean() {
            tracing::warn!(left_running = ?stopped.left_running, panicked = ?stopped.panicked, "not every loop ended in good order");
        }
        if timeout(LOOPS_DEADLINE, parts.close()).await.is_err() {
            tracing::warn!(
                "the log's queue was not empty at the deadline; its clients were told that the outcome is unknown"
            );
        }
        let exit = served?;
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(failure) => Err(failure),
            None if !stopped.panicked.is_empty() => Err(Failure::failed(format!(
                "{} ended by a panic; see the log",
                stopped.panicked.join(", ")
            ))),
            None => Ok(exit),
        }
    }
}

/// Answers requests until the stop is asked for and they have drained. What `announce` returns is
/// kept until then.
async fn answer<G>(
    listener: TcpListener,
    router: axum::Router,
    health: &Health,
    settings: &HttpSettings,
    front: &Shutdown,
    announce: impl AsyncFnOnce(SocketAddr) -> Result<G, Failure>,
) -> Result<Exit, Failure> {
    let metrics = Metrics::install().map_err(Failure::failed)?;
    let router = harden(router.merge(health.routes()).merge(metrics.routes()), settings);
    let address = listener.local_addr().map_err(Failure::failed)?;
    let (http, shutdown) = (settings.clone(), front.clone());
    let served = tokio::spawn(async move { serve(listener, router, shutdown, &http).await });
    let kept = announce(address).await;
    if kept.is_err() {
        front.trigger();
    }
    let served = served.await.map_err(Failure::failed)?;
    tracing::info!(connections_cut = served.cut, "requests have drained");
    drop(kept?);
    Ok(Exit::Done)
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

/// Logs as the settings say.
pub(crate) fn start_logging(settings: &Settings) -> Result<(), Failure> {
    telemetry::init(&settings.log).map_err(Failure::usage)
}

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
