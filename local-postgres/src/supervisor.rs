//! The loop that keeps PostgreSQL running.
//!
//! Guarantee: while the loop runs, a server that dies is started again on the
//! same port with the same password, first after [`FIRST_DELAY`], then after
//! twice as long each time up to [`LONGEST_DELAY`], for ever. What was
//! acknowledged is there again: PostgreSQL recovers it from its log.
//!
//! When this process is killed, the server lives on and the next start adopts
//! it; the loop keeps no state that would be lost. Not needed for correctness:
//! noticing a death quickly. Clients see connection errors until it is back.
//!
//! A server that was killed by order stays down until it is ordered back.
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, interval, sleep};

use crate::postmaster::Launch;
use crate::process::Process;
use crate::{Error, log, postmaster};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A server that served this long did start: its death begins a new count.
const STEADY: Duration = Duration::from_secs(2);
/// Recovery takes as long as it takes: ending it would only begin it anew.
const RECOVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// How the server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Serving {
        pid: i32,
    },
    /// It died or does not start; it is tried again until it does.
    Down {
        why: String,
        remedy: String,
    },
    Stopped,
}

/// What the loop is told; that whoever could tell it is gone means to stop.
pub(crate) enum Order {
    /// End every process of the server at once and leave it down; answered when it is.
    Kill(oneshot::Sender<Result<(), Error>>),
    /// Start the server that was killed.
    Start,
}

/// What came of waiting for the server to serve.
enum Again {
    Serving(Box<Process>),
    KilledByOrder,
    Stopped,
}

pub(crate) struct Supervisor {
    pub(crate) launch: Launch,
    pub(crate) state: watch::Sender<State>,
    pub(crate) orders: mpsc::Receiver<Order>,
}

impl Supervisor {
    pub(crate) async fn run(mut self, mut process: Process) -> Result<(), Error> {
        let mut delay = FIRST_DELAY;
        loop {
            let since = Instant::now();
            let mut again = tokio::select! {
                how = serve(&mut process, &self.launch) => {
                    self.died(process.pid, &how);
                    if since.elapsed() >= STEADY {
                        delay = FIRST_DELAY;
                    }
                    self.restart(&mut delay).await?
                }
                order = self.orders.recv() => match order {
                    None => return self.finish(process).await,
                    Some(Order::Kill(done)) => self.kill(Some(process), done).await,
                    Some(Order::Start) => Again::Serving(Box::new(process)),
                },
            };
            process = loop {
                again = match again {
                    Again::Serving(process) => break *process,
                    Again::Stopped => return Ok(()),
                    Again::KilledByOrder => self.ordered_back(&mut delay).await?,
                };
            };
            self.state.send_replace(State::Serving { pid: process.pid });
        }
    }

    fn died(&self, pid: i32, how: &str) {
        tracing::warn!(process.pid = pid, exit = how, "PostgreSQL died; starting it again");
        self.state.send_replace(State::Down {
            why: format!("PostgreSQL died ({how})"),
            remedy: "none needed: it is being started again".to_owned(),
        });
    }

    /// Tries until it serves, or is told otherwise meanwhile.
    async fn restart(&mut self, delay: &mut Duration) -> Result<Again, Error> {
        loop {
            tokio::select! {
                () = sleep(*delay) => {}
                order = self.orders.recv() => match order {
                    None => {
                        self.state.send_replace(State::Stopped);
                        return Ok(Again::Stopped);
                    }
                    Some(Order::Kill(done)) => return Ok(self.kill(None, done).await),
                    Some(Order::Start) => {}
                },
            }
            *delay = (*delay * 2).min(LONGEST_DELAY);
            let error = match Process::spawn(&self.launch).await {
                Ok(mut process) => tokio::select! {
                    ready = process.ready(&self.launch, RECOVERY) => match ready {
                        Ok(()) => {
                            tracing::info!(process.pid = process.pid, "PostgreSQL serves again");
                            return Ok(Again::Serving(Box::new(process)));
                        }
                        Err(error) => error,
                    },
                    order = next_but_start(&mut self.orders) => return match order {
                        None => self.finish(process).await.map(|()| Again::Stopped),
                        Some(done) => Ok(self.kill(Some(process), done).await),
                    },
                },
                Err(error) => error,
            };
            let remedy = error.remedy();
            tracing::error!(%error, remedy, "PostgreSQL does not start; trying again");
            self.state.send_replace(State::Down {
                why: error.to_string(),
                remedy,
            });
        }
    }

    /// The server that was killed by order stays down until the next one.
    async fn ordered_back(&mut self, delay: &mut Duration) -> Result<Again, Error> {
        match self.orders.recv().await {
            None => {
                self.state.send_replace(State::Stopped);
                Ok(Again::Stopped)
            }
            Some(Order::Kill(done)) => Ok(self.kill(None, done).await),
            Some(Order::Start) => {
                *delay = Duration::ZERO;
                let again = self.restart(delay).await;
                *delay = FIRST_DELAY;
                again
            }
        }
    }

    async fn kill(&mut self, process: Option<Process>, done: oneshot::Sender<Result<(), Error>>) -> Again {
        let cluster = self.launch.layout.cluster();
        let killed = match process {
            Some(mut process) => process.kill(&self.launch).await,
            None => postmaster::kill_all(&cluster).await,
        };
        self.state.send_replace(State::Down {
            why: "PostgreSQL was killed by order".to_owned(),
            remedy: "order it back".to_owned(),
        });
        // Whoever gave the order may have gone; the server is down all the same.
        let _ = done.send(killed);
        Again::KilledByOrder
    }

    async fn finish(&mut self, mut process: Process) -> Result<(), Error> {
        // A frozen server would not hear that it shall end.
        postmaster::signal_all(&self.launch.layout.cluster(), Signal::SIGCONT);
        let ended = process.end(&self.launch).await;
        self.state.send_replace(State::Stopped);
        ended
    }
}

/// The next order that changes what a starting server shall do: `None` to stop.
async fn next_but_start(orders: &mut mpsc::Receiver<Order>) -> Option<oneshot::Sender<Result<(), Error>>> {
    loop {
        match orders.recv().await {
            None => return None,
            Some(Order::Kill(done)) => return Some(done),
            Some(Order::Start) => {}
        }
    }
}

/// Until the server dies; keeps its log in bounds meanwhile.
async fn serve(process: &mut Process, launch: &Launch) -> String {
    let mut minute = interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            how = process.ended(launch) => return how,
            _ = minute.tick() => {
                if let Err(error) = log::trim(&launch.layout.log(), log::LIMIT_BYTES) {
                    tracing::warn!(%error, "the log of PostgreSQL was not shortened");
                }
            }
        }
    }
}
