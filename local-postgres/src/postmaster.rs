//! The running server as a process: starting it, recognising one that is there
//! already, waiting until it serves, ending it.
//!
//! A process counts as PostgreSQL of a cluster only when the kernel says that
//! its program is `postgres` and its working folder is that cluster. A process
//! number alone proves nothing: after a crash or a reboot it may be anyone's.
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;
use crate::account::Account;
use crate::binaries::Binaries;
use crate::cluster::Layout;
use crate::settings::{self, Options};

/// What one server is started with.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) layout: Layout,
    pub(crate) binaries: Binaries,
    pub(crate) account: Account,
    pub(crate) port: u16,
    pub(crate) options: Options,
}

impl Launch {
    pub(crate) fn program(&self) -> PathBuf {
        self.binaries.program("postgres")
    }

    fn arguments(&self) -> Vec<String> {
        settings::arguments(&self.layout.cluster(), self.port, &self.options)
    }

    /// Whether a running server is just what this would start.
    pub(crate) fn matches(&self, pid: i32) -> bool {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let program = std::fs::read_link(format!("/proc/{pid}/exe"));
        program.ok() == self.program().canonicalize().ok()
            && line
                .split_terminator('\0')
                .skip(1)
                .eq(self.arguments().iter().map(String::as_str))
    }

    /// The server as a command, writing to its log file; it is not started yet.
    /// Returns also where in the log this start begins.
    pub(crate) fn command(&self) -> Result<(std::process::Command, u64), Error> {
        let path = self.layout.log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let begins = log.metadata().map_err(Error::io("read", &path))?.len();
        let errors = log.try_clone().map_err(Error::io("open", &path))?;
        let mut command = self.account.command(&self.program());
        command
            .args(self.arguments())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors));
        Ok((command, begins))
    }

    /// Why a server that ended before it was ready did so, by its own words.
    pub(crate) fn failure(&self, log_begins: u64) -> Error {
        let log = self.layout.log();
        let said = read_from(&log, log_begins).unwrap_or_default();
        if said.contains("recovery ended before configured recovery target was reached") {
            return Error::EndsBefore { log };
        }
        Error::from_output(&said, &self.layout.folder, Some(self.port)).unwrap_or_else(|| {
            let tail: Vec<&str> = said.lines().rev().take(5).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            Error::DidNotStart { log, tail }
        })
    }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<String> {
    const ENOUGH: u64 = 64 * 1024;
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the server says of itself in `postmaster.pid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: i32,
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
}

impl PidFile {
    pub(crate) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?)
    }

    /// Lines: pid, data folder, start time, port, socket folder, address, shared
    /// memory, status. The last is there only once there is something to say.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let status = lines.nth(6).unwrap_or_default().trim();
        Some(Self {
            pid,
            ready: status == "ready",
            stopping: status == "stopping",
        })
    }
}

/// Whether process `pid` is `postgres` working in `cluster` (an absolute path
/// free of links). A zombie is not: it has neither program nor folder.
pub(crate) fn works_in(pid: i32, cluster: &Path) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let folder = std::fs::read_link(proc.join("cwd"));
    let program = std::fs::read_link(proc.join("exe"));
    // After an update of the package the kernel adds " (deleted)" to the program.
    let is_postgres = program.is_ok_and(|it| {
        it.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("postgres"))
    });
    is_postgres && folder.is_ok_and(|it| it == cluster)
}

/// The server that runs on this cluster already, if one does.
pub(crate) fn running(cluster: &Path) -> Option<PidFile> {
    PidFile::read(cluster).filter(|file| works_in(file.pid, cluster))
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    // The only failures are that it is gone already, or never was ours to end;
    // whoever sends a signal looks at the process afterwards.
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Ends every process of this cluster whose server is dead. They hold its
/// shared memory, and while they do a new server refuses to start. Afterwards
/// a `postmaster.pid` that names nobody's server is out of the way as well.
pub(crate) fn clear_leftovers(cluster: &Path) -> Result<(), Error> {
    let give_up = Instant::now() + Duration::from_secs(10);
    let insist = Instant::now() + Duration::from_secs(2);
    while let Some(pid) = processes_in(cluster).next() {
        if Instant::now() > give_up {
            return Err(Error::WillNotEnd { pid });
        }
        let how = if Instant::now() > insist {
            Signal::SIGKILL
        } else {
            Signal::SIGQUIT
        };
        processes_in(cluster).for_each(|pid| signal(pid, how));
        std::thread::sleep(Duration::from_millis(20));
    }
    let stale = cluster.join("postmaster.pid");
    match std::fs::remove_file(&stale) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &stale)(error)),
        _ => Ok(()),
    }
}

/// Signals the server and all its helpers, itself first: a stopped server
/// starts no helper that would be missed.
pub(crate) fn signal_all(cluster: &Path, how: Signal) {
    if let Some(server) = running(cluster) {
        signal(server.pid, how);
    }
    processes_in(cluster).for_each(|pid| signal(pid, how));
}

/// Kills until no process of this cluster is left.
pub(crate) async fn kill_all(cluster: &Path) -> Result<(), Error> {
    let give_up = Instant::now() + Duration::from_secs(10);
    while let Some(pid) = processes_in(cluster).next() {
        if Instant::now() > give_up {
            return Err(Error::WillNotEnd { pid });
        }
        signal_all(cluster, Signal::SIGKILL);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn processes_in(cluster: &Path) -> impl Iterator<Item = i32> + '_ {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(move |pid| works_in(*pid, cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_is_read_as_postgres_writes_it() {
        let whole = "4711\n/data/cluster\n1700000000\n5433\n\n127.0.0.1\n  123 456\nready   \n";
        let read = |ready, stopping| {
            Some(PidFile {
                pid: 4711,
                ready,
                stopping,
            })
        };
        assert_eq!(PidFile::parse(whole), read(true, false));
        assert_eq!(
            PidFile::parse(&whole.replace("ready   ", "stopping")),
            read(false, true)
        );
        assert_eq!(
            PidFile::parse(&whole.replace("ready   ", "starting")),
            read(false, false)
        );
        assert_eq!(PidFile::parse("4711\n/data/cluster\n"), read(false, false));
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    fn another_program_is_not_taken_for_postgres() {
        let here = std::env::current_dir().unwrap();
        let ourselves = i32::try_from(std::process::id()).unwrap();
        assert!(!works_in(ourselves, &here));
    }
}
