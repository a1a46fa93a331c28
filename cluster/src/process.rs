//! One process: a child of ours, in a process group and a folder of its own.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::config::Role;
use crate::info::ProcessInfo;
use crate::{Error, Gateway, leftovers, ready};

const LOOK_AGAIN: Duration = Duration::from_millis(10);
const START_LIMIT: Duration = Duration::from_secs(60);
/// More than a process gives itself to end in order.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// A process of the cluster that is neither PostgreSQL nor Kafka. What dies stays dead until it is
/// restarted, here or by whoever watches over the cluster.
#[derive(Debug)]
pub struct Process {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    /// What nginx passes on to.
    gateway: Option<Gateway>,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub(crate) fn new(name: String, role: Role, port: u16, program: PathBuf, folder: PathBuf) -> Self {
        Self {
            name,
            role,
            port,
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            folder,
            gateway: None,
            child: Mutex::new(None),
        }
    }

    pub(crate) fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = environment;
        self
    }

    pub(crate) fn gateway(mut self, gateway: Gateway) -> Self {
        self.gateway = Some(gateway);
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it answers, bypassing nginx.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its process number while it runs, frozen or not.
    pub fn pid(&self) -> Option<u32> {
        let mut child = self.child();
        let running = child.as_mut()?;
        matches!(running.try_wait(), Ok(None)).then(|| running.id())
    }

    /// Whether it ended without having been told to.
    pub(crate) fn died(&self) -> bool {
        let mut child = self.child();
        let ended = child.as_mut().map(Child::try_wait);
        matches!(ended, Some(Ok(Some(_)) | Err(_)))
    }

    /// Ends it at once, as kill -9 does.
    ///
    /// # Errors
    /// [`Error::WillNotEnd`].
    pub async fn kill(&self) -> Result<(), Error> {
        self.end(Signal::SIGKILL).await.map(|_| ())
    }

    /// Asks it to end, as an init system would, and waits until it has.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::WillNotEnd`].
    pub async fn terminate(&self) -> Result<ExitStatus, Error> {
        // To nginx, TERM means at once, and QUIT in order.
        let how = if self.role == Role::Nginx {
            Signal::SIGQUIT
        } else {
            Signal::SIGTERM
        };
        self.end(how).await?.ok_or_else(|| self.not_running())
    }

    /// Lets it stand still with its connections open.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen one go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    /// Starts it again on the same port, ending it in order first where it runs; returns once it
    /// answers.
    ///
    /// # Errors
    /// [`Error::Died`] or [`Error::NotReady`].
    pub async fn restart(&self) -> Result<(), Error> {
        match self.terminate().await {
            Ok(_) | Err(Error::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        self.spawn()?;
        self.answers().await
    }

    pub(crate) fn spawn(&self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        if let Some(gateway) = &self.gateway {
            gateway.write(&self.folder)?;
        }
        // Workers of nginx outlive a master that was killed, and keep its port.
        leftovers::end(std::slice::from_ref(&self.folder), true)?;
        let log = self.log();
        let open = OpenOptions::new().create(true).append(true).open(&log);
        let output = open.map_err(Error::io("open", &log))?;
        let errors = output.try_clone().map_err(Error::io("open", &log))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            // Ctrl-C must reach us alone, and a signal to it its own helpers too.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let child = command.spawn().map_err(Error::io("run", &self.program))?;
        *self.child() = Some(child);
        Ok(())
    }

    /// Waits until it answers at all, ready or not.
    pub(crate) async fn answers(&self) -> Result<(), Error> {
        let path = if self.role == Role::Nginx { "/" } else { "/health/live" };
        let url = format!("{}{path}", self.url());
        let client = ready::client()?;
        let begun = Instant::now();
        loop {
            let Err(error) = client.get(&url).send().await else {
                return Ok(());
            };
            self.alive()?;
            if begun.elapsed() > START_LIMIT {
                return Err(Error::NotReady {
                    seconds: START_LIMIT.as_secs(),
                    waiting_for: format!("{}: {error}", self.name),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// # Errors
    /// [`Error::Died`], with the end of its log.
    pub(crate) fn alive(&self) -> Result<(), Error> {
        let status = match self.child().as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => status.to_string(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(None)) | None => return Ok(()),
        };
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        Err(Error::Died {
            name: self.name.clone(),
            status,
            log: self.log(),
            tail: lines[lines.len().saturating_sub(15)..].join("\n"),
        })
    }

    /// Until it has ended and was waited for; `None` where it did not run.
    async fn end(&self, how: Signal) -> Result<Option<ExitStatus>, Error> {
        // A frozen one hears nothing until it goes on.
        let running = self.signal(how).and_then(|()| self.signal(Signal::SIGCONT));
        let begun = Instant::now();
        loop {
            let status = self.child().as_mut().map(Child::try_wait);
            match status {
                Some(Ok(None)) if begun.elapsed() > STOP_LIMIT => {
                    return Err(Error::WillNotEnd {
                        name: self.name.clone(),
                        seconds: STOP_LIMIT.as_secs(),
                    });
                }
                Some(Ok(None)) => sleep(LOOK_AGAIN).await,
                Some(Ok(Some(status))) => {
                    *self.child() = None;
                    return Ok(running.is_ok().then_some(status));
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    /// Ends it without waiting. For when there is no time left.
    pub(crate) fn kill_now(&self) {
        // Not running is as good.
        let _ = self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child().take() {
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let group = pid.ok_or_else(|| self.not_running())?;
        // Our child, not yet waited for: the number cannot have passed to another process.
        killpg(Pid::from_raw(group), signal).map_err(|_| self.not_running())
    }

    fn not_running(&self) -> Error {
        Error::NotRunning {
            name: self.name.clone(),
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            name: self.name.clone(),
            role: self.role,
            pid: self.pid(),
            url: self.url(),
            port: self.port,
            log: self.log(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &std::path::Path, script: &str) -> Process {
        let process = Process::new("sh-1".into(), Role::Relay, 1, "/bin/sh".into(), folder.join("sh-1"));
        process.arguments(["-c", script])
    }

    /// Waits until the log says so: the traps are set.
    async fn says(process: &Process, word: &str) {
        let begun = Instant::now();
        while !std::fs::read_to_string(process.log()).is_ok_and(|log| log.contains(word)) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{word} was never said");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    #[tokio::test]
    async fn given_a_process_then_it_is_frozen_thawed_terminated_and_killed_with_its_helpers() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell(
            folder.path(),
            "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done",
        );
        assert!(process.pid().is_none() && !process.died());
        assert!(matches!(process.freeze(), Err(Error::NotRunning { .. })));
        process.spawn().unwrap();
        says(&process, "up").await;
        process.freeze().unwrap();
        let stat = format!("/proc/{}/stat", process.pid().unwrap());
        let begun = Instant::now();
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(begun.elapsed() < Duration::from_secs(10), "it goes on");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        process.thaw().unwrap();
        assert_eq!(process.terminate().await.unwrap().code(), Some(7));
        assert!(process.pid().is_none() && !process.died());
        assert!(matches!(process.terminate().await, Err(Error::NotRunning { .. })));
        process.spawn().unwrap();
        process.kill().await.unwrap();
        assert!(process.pid().is_none());
    }

    #[tokio::test]
    async fn given_a_process_that_ends_by_itself_then_it_counts_as_died_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell(folder.path(), "echo no such luck; exit 3");
        process.spawn().unwrap();
        says(&process, "no such luck").await;
        while process.pid().is_some() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        assert!(process.died());
        let error = process.alive().unwrap_err().to_string();
        assert!(error.contains("no such luck") && error.contains('3'), "{error}");
    }
}
