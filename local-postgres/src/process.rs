//! A server that runs for us: our child, or one adopted from a killed supervisor.
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::Error;
use crate::postmaster::{self, Launch, PidFile};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// `None` for an adopted one, which only the kernel's tables tell about.
    child: Option<Child>,
    log_begins: u64,
}

impl Process {
    /// Starts the server, once nothing is left of one that died on this data.
    pub(crate) async fn spawn(launch: &Launch) -> Result<Self, Error> {
        let cluster = launch.layout.cluster();
        // It waits for processes to go, and keeps a thread busy meanwhile.
        let cleared = tokio::task::spawn_blocking(move || postmaster::clear_leftovers(&cluster)).await;
        let program = launch.program();
        cleared.map_err(|error| Error::io("run", &program)(std::io::Error::other(error)))??;
        let (command, log_begins) = launch.command()?;
        let child = Command::from(command).spawn().map_err(Error::io("run", &program))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| Error::io("run", &program)(std::io::Error::other("it has no process number")))?;
        Ok(Self {
            pid,
            child: Some(child),
            log_begins,
        })
    }

    /// The server that is running on this data already, if it is just what we
    /// would start. One with other settings or an older program is ended.
    pub(crate) async fn adopt(launch: &Launch) -> Result<Option<Self>, Error> {
        let cluster = launch.layout.cluster();
        let Some(PidFile { pid, stopping, .. }) = postmaster::running(&cluster) else {
            return Ok(None);
        };
        let mut orphan = Self {
            pid,
            child: None,
            log_begins: 0,
        };
        if !stopping && launch.matches(pid) {
            tracing::info!(
                process.pid = pid,
                "adopting the PostgreSQL that a killed process left running"
            );
            return Ok(Some(orphan));
        }
        tracing::info!(
            process.pid = pid,
            "ending a PostgreSQL left running with other settings"
        );
        orphan.end(launch).await?;
        Ok(None)
    }

    /// Waits until it serves. Only its own `postmaster.pid` is believed: whoever
    /// answers on the port before that may be another program, and must not be
    /// offered our password.
    pub(crate) async fn ready(&mut self, launch: &Launch, limit: Duration) -> Result<(), Error> {
        let cluster = launch.layout.cluster();
        let give_up = Instant::now() + limit;
        while !PidFile::read(&cluster).is_some_and(|file| file.ready && file.pid == self.pid) {
            if timeout(LOOK_AGAIN, self.ended(launch)).await.is_ok() {
                return Err(launch.failure(self.log_begins));
            }
            if Instant::now() > give_up {
                return Err(Error::NotReady {
                    log: launch.layout.log(),
                    seconds: limit.as_secs(),
                });
            }
        }
        Ok(())
    }

    /// Waits for its end and tells how it came. Safe to drop and call again.
    pub(crate) async fn ended(&mut self, launch: &Launch) -> String {
        match &mut self.child {
            Some(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            None => {
                let cluster = launch.layout.cluster();
                while postmaster::works_in(self.pid, &cluster) {
                    sleep(LOOK_AGAIN).await;
                }
                "gone".to_owned()
            }
        }
    }

    /// Whether its process number still is its own.
    fn is_there(&self, launch: &Launch) -> bool {
        match &self.child {
            Some(child) => child.id().is_some(),
            None => postmaster::works_in(self.pid, &launch.layout.cluster()),
        }
    }

    /// Ends it: first so that it writes everything down and closes, then so that
    /// it recovers at the next start. Either way no acknowledged commit is lost.
    pub(crate) async fn end(&mut self, launch: &Launch) -> Result<(), Error> {
        let steps = [(Signal::SIGINT, 30), (Signal::SIGQUIT, 10), (Signal::SIGKILL, 10)];
        for (signal, patience_s) in steps {
            if !self.is_there(launch) {
                return Ok(());
            }
            postmaster::signal(self.pid, signal);
            if timeout(Duration::from_secs(patience_s), self.ended(launch))
                .await
                .is_ok()
            {
                return Ok(());
            }
            tracing::warn!(
                process.pid = self.pid,
                signal = signal.as_str(),
                patience_s,
                "PostgreSQL did not end"
            );
        }
        Err(Error::WillNotEnd { pid: self.pid })
    }

    /// Ends it and all its helpers at once, as a power cut would; nothing is written down.
    pub(crate) async fn kill(&mut self, launch: &Launch) -> Result<(), Error> {
        postmaster::signal_all(&launch.layout.cluster(), Signal::SIGKILL);
        let patience = Duration::from_secs(10);
        if timeout(patience, self.ended(launch)).await.is_err() {
            return Err(Error::WillNotEnd { pid: self.pid });
        }
        postmaster::kill_all(&launch.layout.cluster()).await
    }
}
