//! `run.json`: how the other verbs find the running platform of a data folder.
//!
//! `up` writes it when the platform serves and removes it at a clean stop. A killed process leaves
//! it behind, so readers check that the process it names still runs: its number and the moment it
//! started, since numbers are used again.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::private_file;

/// The running platform. The database URLs carry passwords, hence mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    process_started: u64,
    /// Where REST, GraphQL, health and metrics are served.
    pub(crate) url: String,
    pub(crate) databases: DatabaseUrls,
}

/// By shard: in the order of their ids, which their databases know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseUrls {
    pub(crate) control: String,
    pub(crate) shards: Vec<String>,
    pub(crate) read_store: String,
}

/// What a data folder says of its platform.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Running(RunFile),
    /// Written by a process that is no more.
    Stale,
    Nothing,
}

impl RunFile {
    pub(crate) fn of_this_process(url: String, databases: DatabaseUrls) -> Self {
        let pid = std::process::id();
        Self {
            pid,
            process_started: started(pid).unwrap_or_default(),
            url,
            databases,
        }
    }

    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        private_file::replace(&path(data), &format!("{}\n", serde_json::to_string_pretty(self)?))
    }

    /// Removes the file if it is still this process's.
    pub(crate) fn remove(&self, data: &Path) -> io::Result<()> {
        match read(data) {
            Ok(Some(current)) if current == *self => std::fs::remove_file(path(data)),
            _ => Ok(()),
        }
    }

    fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.process_started)
    }
}

pub(crate) fn find(data: &Path) -> io::Result<Found> {
    Ok(match read(data)? {
        Some(file) if file.is_alive() => Found::Running(file),
        Some(_) => Found::Stale,
        None => Found::Nothing,
    })
}

fn read(data: &Path) -> io::Result<Option<RunFile>> {
    match std::fs::read_to_string(path(data)) {
        // What cannot be understood was not written by a process that this binary can talk to.
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("run.json")
}

/// When a process started, in clock ticks since the machine did; `None` where it is no more.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Field 3 of the whole is the state: a zombie is no longer running. Field 22 is the start.
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        None
    } else {
        fields.get(19)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_file() -> RunFile {
        RunFile::of_this_process("http://127.0.0.1:8080".to_owned(), DatabaseUrls::default())
    }

    #[test]
    fn given_a_running_platform_then_it_is_found_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(find(data.path()).unwrap(), Found::Nothing);
        run_file().write(data.path()).unwrap();
        assert_eq!(find(data.path()).unwrap(), Found::Running(run_file()));
        run_file().remove(data.path()).unwrap();
        assert_eq!(find(data.path()).unwrap(), Found::Nothing);
    }

    #[test]
    fn given_a_file_of_a_process_that_is_no_more_then_it_is_stale() {
        let data = tempfile::tempdir().unwrap();
        let other = RunFile {
            process_started: 1,
            ..run_file()
        };
        other.write(data.path()).unwrap();
        assert_eq!(find(data.path()).unwrap(), Found::Stale);
        // Not ours to remove.
        run_file().remove(data.path()).unwrap();
        assert_eq!(find(data.path()).unwrap(), Found::Stale);
    }

    #[test]
    fn given_a_file_that_cannot_be_read_then_that_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("run.json"), "{").unwrap();
        assert!(find(data.path()).is_err());
    }
}
