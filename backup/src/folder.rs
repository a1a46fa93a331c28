//! A backup folder: where things lie in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::manifest::{Manifest, ServerRecord};

/// A folder of backups.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder, made where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        make(path)?;
        let path = path.canonicalize().map_err(Error::io("find", path))?;
        Ok(Self { path })
    }

    /// A folder that is there.
    ///
    /// # Errors
    /// [`Error::NoBackup`] where it is not.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let missing = |_| Error::NoBackup {
            folder: path.to_owned(),
        };
        let path = path.canonicalize().map_err(missing)?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn archives(&self) -> PathBuf {
        self.path.join("servers")
    }

    pub(crate) fn wal(&self, archive: &str) -> PathBuf {
        self.archives().join(archive).join("wal")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.path.join("backups")
    }

    pub(crate) fn base(&self, backup: &str, server: &str) -> PathBuf {
        self.backups().join(backup).join(server)
    }

    /// What was kept beside a backup under this name.
    pub fn key(&self, backup: &str, name: &str) -> Option<String> {
        std::fs::read_to_string(self.keys(backup).join(name)).ok()
    }

    fn keys(&self, backup: &str) -> PathBuf {
        self.backups().join(backup).join("keys")
    }

    /// Keeps copies of files beside a backup; one that is not there is not needed.
    pub(crate) fn keep_keys(&self, backup: &str, files: &[PathBuf]) -> Result<(), Error> {
        let keys = self.keys(backup);
        for file in files {
            if let Ok(text) = std::fs::read(file) {
                make(&keys)?;
                write(&keys.join(file.file_name().unwrap_or_default()), &text)?;
            }
        }
        Ok(())
    }

    /// When the archive behind this server's backup was last written; none where it has none.
    pub fn archived_until(&self, server: &ServerRecord) -> Option<DateTime<Utc>> {
        let wal = std::fs::read_dir(self.wal(server.archive.as_ref()?)).ok()?;
        let written = wal.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok());
        written.max().map(DateTime::from)
    }

    /// The backups that are whole, the oldest first.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::Io`].
    pub fn manifests(&self) -> Result<Vec<Manifest>, Error> {
        let mut found = Vec::new();
        for backup in subfolders(&self.backups())? {
            let manifest = backup.join("manifest.json");
            // A backup without one was never finished.
            if manifest.exists() {
                found.push(read_json::<Manifest>(&manifest)?);
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}

/// The folders in a folder; none where it is missing.
pub(crate) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(Error::io("read the folder", folder))?,
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    Ok(found)
}

/// A folder for its owner only, and those above it.
pub(crate) fn make(folder: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(Error::io("create the folder", folder))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let not_ours = |source| Error::NotOurs {
        path: path.to_owned(),
        source,
    };
    serde_json::from_slice(&text).map_err(not_ours)
}

/// Writes a file that is there whole or not at all, also after a power cut.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let not_ours = |source| Error::NotOurs {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_vec_pretty(value).map_err(not_ours)?;
    write(path, &text)
}

fn write(path: &Path, text: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    written().map_err(Error::io("write", path))
}
