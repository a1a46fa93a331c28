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
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval, sleep};

use crate::postmaster::Launch;
use crate::process::Process;
use crate::{Error, log};

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

pub(crate) struct Supervisor {
    pub(crate) launch: Launch,
    pub(crate) state: watch::Sender<State>,
    /// Resolves when asked to stop, and when whoever could ask is gone.
    pub(crate) stop: oneshot::Receiver<()>,
}

impl Supervisor {
    pub(crate) async fn run(mut self, mut process: Process) -> Result<(), Error> {
        let mut delay = FIRST_DELAY;
        loop {
            let since = Instant::now();
            let how = tokio::select! {
                how = serve(&mut process, &self.launch) => how,
                _ = &mut self.stop => return self.finish(process).await,
            };
            if since.elapsed() >= STEADY {
                delay = FIRST_DELAY;
            }
            tracing::warn!(
                process.pid = process.pid,
                exit = how,
                "PostgreSQL died; starting it again"
            );
            let remedy = "none needed: it is being started again".to_owned();
            self.state.send_replace(State::Down {
                why: format!("PostgreSQL died ({how})"),
                remedy,
            });
            match self.restart(&mut delay).await? {
                Some(again) => process = again,
                None => return Ok(()),
            }
            tracing::info!(process.pid = process.pid, "PostgreSQL serves again");
            self.state.send_replace(State::Serving { pid: process.pid });
        }
    }

    /// Tries until it serves; `None` when asked to stop meanwhile.
    async fn restart(&mut self, delay: &mut Duration) -> Result<Option<Process>, Error> {
        loop {
            tokio::select! {
                () = sleep(*delay) => {}
                _ = &mut self.stop => {
                    self.state.send_replace(State::Stopped);
                    return Ok(None);
                }
            }
            *delay = (*delay * 2).min(LONGEST_DELAY);
            let error = match Process::spawn(&self.launch).await {
                Ok(mut process) => tokio::select! {
                    ready = process.ready(&self.launch, RECOVERY) => match ready {
                        Ok(()) => return Ok(Some(process)),
                        Err(error) => error,
                    },
                    _ = &mut self.stop => {
                        return self.finish(process).await.map(|()| None);
                    }
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

    async fn finish(&mut self, mut process: Process) -> Result<(), Error> {
        let ended = process.end(&self.launch).await;
        self.state.send_replace(State::Stopped);
        ended
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
