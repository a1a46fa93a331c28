//! Finding and ending processes by the folder they work in. Whatever a cluster starts works in a
//! folder of the cluster's, and nothing else has a reason to.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, Folder};

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Time to end in order; PostgreSQL writes its memory down meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// The processes that work in or below one of the folders.
pub(crate) fn find(folders: &[PathBuf]) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ours = i32::try_from(std::process::id()).unwrap_or_default();
    processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != ours && works_in(*pid, folders))
        .collect()
}

fn works_in(pid: i32, folders: &[PathBuf]) -> bool {
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd"));
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    let within = folder.is_ok_and(|at| folders.iter().any(|folder| at.starts_with(folder)));
    // Somebody's shell may stand in the folder to look at it.
    within && program.is_ok_and(|program| is_ours(&program))
}

fn is_ours(program: &Path) -> bool {
    let name = program.file_name().map(|name| name.to_string_lossy().into_owned());
    // After an update the kernel adds " (deleted)" to the program.
    name.is_some_and(|name| {
        ["comanda", "nginx", "java", "postgres", "pg_basebackup", "initdb"]
            .iter()
            .any(|known| name.starts_with(known))
    })
}

/// Ends them, in order where they do so in time; returns how many there were. Blocks.
pub(crate) fn end(folders: &[PathBuf], at_once: bool) -> Result<usize, Error> {
    let found = find(folders).len();
    let begun = Instant::now();
    let patience = if at_once { Duration::ZERO } else { PATIENCE };
    loop {
        let left = find(folders);
        let Some(&first) = left.first() else { return Ok(found) };
        if begun.elapsed() > patience + LAST_PATIENCE {
            return Err(Error::Leftover { pid: first });
        }
        // To PostgreSQL, TERM means when the last client has gone; INT means now.
        let hows: &[Signal] = if begun.elapsed() > patience {
            &[Signal::SIGKILL]
        } else {
            &[Signal::SIGINT, Signal::SIGTERM, Signal::SIGCONT]
        };
        for pid in left {
            for how in hows {
                // Gone meanwhile, perhaps.
                let _ = kill(Pid::from_raw(pid), *how);
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Ends what a cluster that was killed left behind, and removes what it said of itself; returns
/// how many processes there were. Blocks. Nobody may be running a cluster there.
///
/// # Errors
/// [`Error::Leftover`].
pub fn clear(folder: &Folder) -> Result<usize, Error> {
    let left = end(&folder.workplaces(), false)?;
    let info = folder.info();
    match std::fs::remove_file(&info) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &info)(error)),
        _ => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_programs_then_only_those_that_a_cluster_starts_are_its_own() {
        for ours in [
            "/usr/sbin/nginx",
            "/x/postgres (deleted)",
            "/x/target/release/comanda",
            "/usr/bin/java",
        ] {
            assert!(is_ours(Path::new(ours)), "{ours}");
        }
        for foreign in ["/usr/bin/bash", "/usr/bin/vim.basic", "/usr/bin/tail"] {
            assert!(!is_ours(Path::new(foreign)), "{foreign}");
        }
    }

    #[test]
    fn given_nothing_left_then_ending_it_is_done_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(end(&[folder.path().to_owned()], false).unwrap(), 0);
    }
}
