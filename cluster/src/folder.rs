//! Where everything of a cluster lies, and who may use it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::Error;

/// The files of one cluster, below one folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    postgres: PathBuf,
}

impl Folder {
    /// # Errors
    /// Where the folder cannot be found or made.
    pub fn create(root: &Path) -> Result<Self, Error> {
        // Others may pass through, since PostgreSQL under root runs as a user of its own, but not
        // look around.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root.join("cluster"))
            .map_err(Error::io("create", root))?;
        // Processes are told apart by the folder they work in, as the kernel writes it.
        let root = root.canonicalize().map_err(Error::io("find", root))?;
        let wanted = local_postgres::DataFolder::Default(root.join("cluster/postgres"));
        let postgres = local_postgres::locate(&wanted)?.data;
        Ok(Self { root, postgres })
    }

    /// What a running cluster says of itself.
    pub fn info(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// The settings of the whole topology.
    pub fn settings(&self) -> PathBuf {
        self.home().join("cluster.toml")
    }

    /// What the supervisor of a cluster in the background says.
    pub fn supervisor_log(&self) -> PathBuf {
        self.home().join("supervisor.log")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.home().join("secrets")
    }

    pub(crate) fn kafka(&self) -> PathBuf {
        self.home().join("kafka")
    }

    /// The data of a PostgreSQL; elsewhere where its user cannot come here.
    pub(crate) fn postgres(&self, name: &str) -> PathBuf {
        self.postgres.join(name)
    }

    /// Where a process works; its log is in there.
    pub(crate) fn process(&self, name: &str) -> PathBuf {
        self.home().join("processes").join(name)
    }

    /// Whoever works in one of these belongs to the cluster.
    pub(crate) fn workplaces(&self) -> Vec<PathBuf> {
        let mut places = vec![self.home()];
        if !self.postgres.starts_with(&places[0]) {
            places.push(self.postgres.clone());
        }
        places
    }

    fn lock_file(&self) -> PathBuf {
        self.home().join("lock")
    }

    /// The process that runs a cluster here, if one does.
    pub fn holder(&self) -> Option<u32> {
        match Lock::try_take(&self.lock_file()) {
            Ok(Ok(_)) | Err(_) => None,
            Ok(Err(pid)) => Some(pid),
        }
    }

    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        Lock::try_take(&self.lock_file())?.map_err(|pid| Error::AlreadyRunning {
            folder: self.root.clone(),
            pid,
        })
    }
}

/// One cluster per folder. The kernel drops the lock with the process that holds it.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    fn try_take(path: &Path) -> Result<Result<Self, u32>, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(Error::io("open", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut held) => {
                let pid = std::process::id().to_string();
                held.set_len(0)
                    .and_then(|()| held.rewind())
                    .and_then(|()| held.write_all(pid.as_bytes()))
                    .map_err(Error::io("write", path))?;
                Ok(Ok(Self { _held: held }))
            }
            Err((mut file, _)) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(Error::io("read", path))?;
                Ok(Err(holder.trim().parse().unwrap_or_default()))
            }
        }
    }
}

/// Writes the file whole or not at all, for its owner's eyes only.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    let unfinished = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&unfinished).and_then(|mut file| {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    written
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_cluster_on_a_folder_then_a_second_is_refused_and_told_whose_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::create(root.path()).unwrap();
        assert_eq!(folder.holder(), None);
        let held = folder.lock().unwrap();
        assert_eq!(folder.holder(), Some(std::process::id()));
        let refused = folder.lock().unwrap_err();
        assert!(refused.to_string().contains("make cluster-down"), "{refused}");
        drop(held);
        assert_eq!(folder.holder(), None);
    }

    #[test]
    fn given_a_private_file_then_nobody_else_reads_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("secret");
        std::fs::write(&file, "open to all").unwrap();
        write_private(&file, "s").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "s");
    }
}
