//! What an exported folder says of itself: `_comanda_export.json`.
//!
//! It is replaced as a whole, by a rename, and so is the one moment at which a round of files counts:
//! before it, none of the round's events are in the folder; from it on, all are, even if the process
//! dies before the files have their final names, because the next one gives them those.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use event_store::Cursor;
use serde::{Deserialize, Serialize};

use crate::error::Error;

pub(crate) const NAME: &str = "_comanda_export.json";
const LAYOUT: u32 = 1;

/// What an export is, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file.
    layout: u32,
    /// `ndjson`, `csv` or `parquet`.
    pub format: String,
    /// Which events are wanted, in words.
    pub selection: String,
    /// Where the export ends, or ended last.
    pub until: String,
    /// All that lies up to here is in the folder.
    pub cursor: String,
    /// Events in the folder.
    pub events: u64,
    /// Rounds of files so far.
    pub rounds: u32,
    /// Whether `until` was reached.
    pub complete: bool,
    /// Files of the last round: temporary and final names, within the folder.
    renames: Vec<(PathBuf, PathBuf)>,
}

impl Manifest {
    pub(crate) fn new(format: &str, selection: &str, after: &Cursor) -> Self {
        Self {
            layout: LAYOUT,
            format: format.to_owned(),
            selection: selection.to_owned(),
            until: String::new(),
            cursor: after.to_string(),
            events: 0,
            rounds: 0,
            complete: false,
            renames: Vec::new(),
        }
    }

    /// `None` where the folder has none.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Damaged`].
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(&path)(error)),
        };
        let damaged = |reason: String| Error::Damaged {
            path: path.clone(),
            reason,
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.layout != LAYOUT {
            return Err(damaged(format!("it is of layout {}, not {LAYOUT}", manifest.layout)));
        }
        Ok(Some(manifest))
    }

    /// # Errors
    /// [`Error::Damaged`] where the cursor is none.
    pub fn cursor(&self, folder: &Path) -> Result<Cursor, Error> {
        self.cursor.parse().map_err(|_| Error::Damaged {
            path: folder.join(NAME),
            reason: "its cursor is none".to_owned(),
        })
    }

    /// Makes the round count: what `renames` names is whole and on the disk.
    pub(crate) fn commit(&mut self, folder: &Path, renames: Vec<(PathBuf, PathBuf)>) -> Result<(), Error> {
        self.renames = renames;
        self.write(folder)?;
        self.rename_all(folder)
    }

    fn write(&self, folder: &Path) -> Result<(), Error> {
        let (path, temporary) = (folder.join(NAME), folder.join(format!(".{NAME}.tmp")));
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| Error::file(&path)(error.into()))?;
        text.push(b'\n');
        let mut file = File::create(&temporary).map_err(Error::file(&temporary))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(Error::file(&temporary))?;
        fs::rename(&temporary, &path).map_err(Error::file(&path))?;
        sync_folder(folder)
    }

    /// Gives the round's files their names; again, where a process died on the way.
    pub(crate) fn rename_all(&self, folder: &Path) -> Result<(), Error> {
        for (temporary, name) in &self.renames {
            let (from, to) = (folder.join(temporary), folder.join(name));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && to.exists() => {}
                Err(error) => return Err(Error::file(&from)(error)),
                Ok(()) => {}
            }
        }
        let folders: std::collections::BTreeSet<_> =
            self.renames.iter().filter_map(|(_, name)| name.parent()).collect();
        folders.into_iter().try_for_each(|name| sync_folder(&folder.join(name)))
    }
}

/// Makes new names in a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file(folder))
}
