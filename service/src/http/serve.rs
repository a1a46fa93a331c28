//! Accepting connections, and letting them go.
//!
//! Guarantee: a request whose head was read before the stop is answered, unless the deadline or a
//! forced stop cuts it. The stop runs in this order:
//!
//! 1. notice: connections and requests are still accepted; each answer closes its connection, so
//!    that clients under load leave by themselves, between two requests;
//! 2. the listener's backlog is emptied into connections, then the listener closes;
//! 3. idle connections close, busy ones after their answer;
//! 4. at the deadline, counted from the stop, the rest is cut and counted.
//!
//! A crash loses what was in flight, whose outcome the client must then treat as unknown. An answer
//! that streams without end must watch the shutdown itself, or it is what step 4 cuts.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::FutureExt as _;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::settings::HttpSettings;
use crate::shutdown::Shutdown;

/// Pause after a failed accept. Out of file descriptors, trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Connections cut because they were still busy at the deadline.
    pub cut: usize,
}

/// Serves HTTP/1.1 until the shutdown is triggered and the connections have drained.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown, settings: &HttpSettings) -> Served {
    let server = Server::new(router, settings);
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    server.accept_until(&listener, &slots, shutdown.cancelled()).await;

    let deadline = Instant::now() + settings.shutdown_deadline();
    server.phase.closing.cancel();
    let notice = async {
        tokio::select! {
            () = tokio::time::sleep(settings.drain_notice()) => {}
            () = shutdown.forced() => {}
        }
    };
    server.accept_until(&listener, &slots, notice).await;
    server.accept_backlog(&listener, &slots);
    drop(listener);
    server.drain(&shutdown, deadline).await
}

struct Server {
    router: Router,
    builder: http1::Builder,
    connections: TaskTracker,
    phase: Phase,
}

/// How far the stop has come, as its connections see it.
#[derive(Clone, Default)]
struct Phase {
    /// Answers close their connection.
    closing: CancellationToken,
    /// Idle connections close.
    draining: CancellationToken,
    /// Every connection is dropped.
    cut: CancellationToken,
}

impl Server {
    fn new(router: Router, settings: &HttpSettings) -> Self {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_read_timeout())
            .max_header_size(settings.max_header_bytes);
        Self {
            router,
            builder,
            connections: TaskTracker::new(),
            phase: Phase::default(),
        }
    }

    async fn accept_until(&self, listener: &TcpListener, slots: &Arc<Semaphore>, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            let accepted = async {
                // The semaphore is never closed, so this only waits.
                let slot = Arc::clone(slots).acquire_owned().await.ok();
                (slot, listener.accept().await)
            };
            tokio::select! {
                () = &mut end => return,
                (slot, accepted) = accepted => match accepted {
                    Ok((stream, _)) => self.connect(stream, slot),
                    Err(error) => recover(&error).await,
                },
            }
        }
    }

    /// Takes in the connections that the kernel has already completed: their clients believe
    /// themselves connected and may have sent a request.
    fn accept_backlog(&self, listener: &TcpListener, slots: &Arc<Semaphore>) {
        while let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
            match listener.accept().now_or_never() {
                Some(Ok((stream, _))) => self.connect(stream, Some(slot)),
                Some(Err(_)) | None => return,
            }
        }
    }

    fn connect(&self, stream: TcpStream, slot: Option<OwnedSemaphorePermit>) {
        // Answers are written whole; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let (router, phase) = (self.router.clone(), self.phase.clone());
        let closing = phase.closing.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (router, closing) = (router.clone(), closing.clone());
            async move {
                let mut answer = router.oneshot(request.map(Body::new)).await;
                if let (Ok(response), true) = (&mut answer, closing.is_cancelled()) {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        });
        let connection = self
            .builder
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        self.connections.spawn(async move {
            let _slot = slot;
            tokio::pin!(connection);
            // The connection comes first, so that a request already there is read before the
            // drain can take the connection for idle.
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = phase.draining.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = phase.cut.cancelled() => return,
                    }
                }
            };
            if let Err(error) = ended {
                // Clients that vanish or talk nonsense are everyday business.
                tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
            }
        });
    }

    async fn drain(self, shutdown: &Shutdown, deadline: Instant) -> Served {
        self.phase.draining.cancel();
        self.connections.close();
        tokio::select! {
            biased;
            () = self.connections.wait() => {}
            () = shutdown.forced() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        let cut = self.connections.len();
        if cut > 0 {
            tracing::warn!(
                connections = cut,
                "connections were still busy at the deadline and are cut"
            );
            self.phase.cut.cancel();
            self.connections.wait().await;
        }
        Served { cut }
    }
}

async fn recover(error: &std::io::Error) {
    let of_one_client = matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    );
    if !of_one_client {
        tracing::warn!(error = error as &dyn std::error::Error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
