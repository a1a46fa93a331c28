//! Stopping in order.
//!
//! Guarantee: once triggered, every task that watches [`Shutdown::cancelled`] is told, and
//! [`Shutdown::wait`] returns when all spawned tasks have ended, when the deadline passes, or at
//! once when the stop is forced. A task that panics triggers the shutdown itself: a process that
//! has lost one of its loops would otherwise look healthy and do half its work.
//!
//! A crash needs none of this: nothing that is durable depends on an orderly stop.
//!
//! A process that serves requests uses two of these, one for its listeners and one for what stands
//! behind them, and triggers the second when the first has drained; so no request in flight finds
//! its committer gone.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a [`Shutdown::wait`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Tasks still running when the wait was given up; they were aborted.
    pub left_running: Vec<String>,
    /// Tasks that ended by a panic.
    pub panicked: Vec<String>,
}

impl Stopped {
    pub fn is_clean(&self) -> bool {
        self.left_running.is_empty() && self.panicked.is_empty()
    }
}

/// A shared switch, "stop now", with the tasks that obey it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    cancelled: CancellationToken,
    forced: CancellationToken,
    tracker: TaskTracker,
    tasks: Arc<Mutex<Tasks>>,
}

#[derive(Debug, Default)]
struct Tasks {
    next_id: u64,
    running: BTreeMap<u64, (String, tokio::task::AbortHandle)>,
    panicked: Vec<String>,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every task to stop. More calls change nothing.
    pub fn trigger(&self) {
        self.cancelled.cancel();
    }

    /// Gives up waiting: [`Self::wait`] and draining servers return at once.
    pub fn force(&self) {
        self.cancelled.cancel();
        self.forced.cancel();
    }

    pub fn is_triggered(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Completes when the stop is asked for. Safe to drop and call again.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Completes when the stop is forced.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }

    /// Runs a task that [`Self::wait`] waits for. The task ends by itself or on
    /// [`Self::cancelled`]; its name is what a log line calls it.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        // Spawned under the lock: a task that ends at once waits there to take itself off the
        // list until it is on it.
        self.with_tasks(|tasks| {
            tasks.next_id += 1;
            let id = tasks.next_id;
            let guard = Ended {
                shutdown: self.clone(),
                id,
                name: name.clone(),
            };
            let handle = self.tracker.spawn(guard.watch(future)).abort_handle();
            tasks.running.insert(id, (name, handle));
        });
    }

    /// Triggers on SIGTERM or SIGINT; a second signal forces.
    ///
    /// # Errors
    /// Where the signal handlers cannot be installed.
    pub fn listen_to_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        // Not tracked: it lives as long as the process, so that a second signal is always heard.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if shutdown.is_triggered() {
                    tracing::warn!(signal = name, "second signal: stopping at once");
                    shutdown.force();
                } else {
                    tracing::info!(signal = name, "stopping; a second signal stops at once");
                    shutdown.trigger();
                }
            }
        });
        Ok(())
    }

    /// Waits for the spawned tasks, at most `deadline` long from when the stop is asked for.
    /// Aborts what is left and says what it was.
    pub async fn wait(&self, deadline: Duration) -> Stopped {
        self.tracker.close();
        let all_ended = self.tracker.wait();
        tokio::pin!(all_ended);
        tokio::select! {
            () = &mut all_ended => {}
            () = self.forced() => {}
            () = async {
                self.cancelled().await;
                tokio::time::sleep(deadline).await;
            } => {}
        }
        self.with_tasks(|tasks| {
            let left_running = std::mem::take(&mut tasks.running)
                .into_values()
                .filter(|(_, handle)| !handle.is_finished())
                .map(|(name, handle)| {
                    handle.abort();
                    name
                })
                .collect();
            Stopped {
                left_running,
                panicked: tasks.panicked.clone(),
            }
        })
    }

    fn with_tasks<T>(&self, change: impl FnOnce(&mut Tasks) -> T) -> T {
        // Nothing here panics while holding the lock, and a list of names is fit to read if it did.
        change(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes a task off the list however it ends.
struct Ended {
    shutdown: Shutdown,
    id: u64,
    name: String,
}

impl Ended {
    async fn watch<F: Future<Output = ()>>(self, future: F) {
        if std::panic::AssertUnwindSafe(future).catch_unwind().await.is_err() {
            // The panic's own message has been written by the panic hook.
            tracing::error!(task = %self.name, "a task panicked; stopping the process");
            self.shutdown.with_tasks(|tasks| tasks.panicked.push(self.name.clone()));
            self.shutdown.trigger();
        } else if !self.shutdown.is_triggered() {
            tracing::debug!(task = %self.name, "task ended");
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.shutdown.with_tasks(|tasks| tasks.running.remove(&self.id));
    }
}
