//! One node: a JVM that is our child.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::{Error, java};

const LOOK_AGAIN: Duration = Duration::from_millis(20);
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const READY: &str = "Kafka Server started";

/// 1, 2, 3…
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A broker and controller. It is not supervised: what dies stays dead until it is restarted.
#[derive(Debug)]
pub struct Node {
    pub(crate) id: NodeId,
    pub(crate) jars: PathBuf,
    pub(crate) heap_mb: u16,
    /// Where its JVM works, which is how its watcher knows it.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    process: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    jvm: Child,
    /// Where the log of this run begins.
    log_begins: u64,
}

impl Node {
    pub(crate) fn new(id: NodeId, jars: PathBuf, heap_mb: u16, folder: PathBuf, port: u16) -> Self {
        Self {
            id,
            jars,
            heap_mb,
            folder,
            port,
            process: Mutex::new(None),
        }
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    /// `host:port` of the open listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its process number while it runs, frozen or not.
    pub fn pid(&self) -> Option<u32> {
        let mut process = self.process();
        let running = process.as_mut()?;
        matches!(running.jvm.try_wait(), Ok(None)).then(|| running.jvm.id())
    }

    /// Ends it in order: its partitions are handed over first.
    ///
    /// # Errors
    /// Only where the kernel refuses. One that does not end in time is killed.
    pub async fn stop(&self) -> Result<(), Error> {
        self.end(Signal::SIGTERM).await
    }

    /// Ends it at once, as a power cut of this node alone would.
    ///
    /// # Errors
    /// Only where the kernel refuses.
    pub async fn kill(&self) -> Result<(), Error> {
        self.end(Signal::SIGKILL).await
    }

    /// Lets it stand still with its connections open (SIGSTOP).
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

    /// Starts it again on its data, ending it first where it runs; ready when this returns.
    ///
    /// # Errors
    /// [`Error::Died`] or [`Error::NotReady`] with the end of its log.
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        self.spawn()?;
        self.ready().await
    }

    pub(crate) fn spawn(&self) -> Result<(), Error> {
        let log = self.log();
        let open = OpenOptions::new().create(true).append(true).open(&log);
        let output = open.map_err(Error::io("open", &log))?;
        let log_begins = output.metadata().map_or(0, |it| it.len());
        let errors = output.try_clone().map_err(Error::io("open", &log))?;
        let mut jvm = java::command(&self.jars, self.heap_mb, "kafka.Kafka")?;
        jvm.arg("server.properties").current_dir(&self.folder);
        // Its own group: Ctrl-C must reach us alone.
        jvm.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let jvm = jvm.spawn().map_err(Error::io("run Kafka in", &self.folder))?;
        *self.process() = Some(Running { jvm, log_begins });
        Ok(())
    }

    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let give_up = Instant::now() + START_LIMIT;
        loop {
            let log = self.log_of_this_run();
            if log.contains(READY) {
                return Ok(());
            }
            if self.pid().is_none() {
                let lines: Vec<_> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(30)..].join("\n");
                return Err(Error::Died {
                    node: self.id,
                    log: self.log(),
                    tail,
                });
            }
            if Instant::now() > give_up {
                return Err(Error::NotReady {
                    node: self.id,
                    log: self.log(),
                    seconds: START_LIMIT.as_secs(),
                });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn end(&self, how: Signal) -> Result<(), Error> {
        let mut how = how;
        let mut give_up = Instant::now() + STOP_LIMIT;
        while self.pid().is_some() {
            // A frozen one hears SIGTERM only when it goes on.
            for signal in [how, Signal::SIGCONT] {
                self.signal(signal)
                    .or_else(|error| if self.pid().is_none() { Ok(()) } else { Err(error) })?;
            }
            while self.pid().is_some() && Instant::now() < give_up {
                sleep(LOOK_AGAIN).await;
            }
            how = Signal::SIGKILL;
            give_up = Instant::now() + STOP_LIMIT;
        }
        *self.process() = None;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .ok_or(Error::NotRunning(self.id))?;
        // Our child, not yet waited for: the number cannot have passed to another process.
        kill(Pid::from_raw(pid), signal).map_err(|_| Error::NotRunning(self.id))
    }

    fn log_of_this_run(&self) -> String {
        let begins = self.process().as_ref().map_or(0, |running| running.log_begins);
        let mut text = Vec::new();
        let read = File::open(self.log()).and_then(|mut log| {
            log.seek(SeekFrom::Start(begins))?;
            log.read_to_end(&mut text)
        });
        if read.is_err() {
            String::new()
        } else {
            String::from_utf8_lossy(&text).into_owned()
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Running>> {
        // Nothing here panics while holding the lock.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = self.process().as_mut() {
            let _ = running.jvm.kill();
            let _ = running.jvm.wait();
        }
    }
}
