//! Removing old backups and the log that only they needed.
//!
//! What is kept stays restorable: a backup goes before the log behind it does, its manifest first,
//! and only log before the oldest backup that is kept is removed. Killed at any moment it leaves
//! whole backups and files that nobody needs, which the next run removes.

use crate::archive::Archive;
use crate::check::{parse_lsn, segments};
use crate::error::Error;
use crate::folder::{Folder, read_json, subfolders};
use crate::manifest::Manifest;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Backups, those included that were never finished.
    pub backups: Vec<String>,
    pub segments: usize,
    /// Archives that no backup begins in and that have ended.
    pub archives: Vec<String>,
}

/// Removes all but the newest `keep` backups, at least one.
///
/// # Errors
/// [`Error`].
pub fn prune(folder: &Folder, keep: usize) -> Result<Pruned, Error> {
    let mut pruned = Pruned::default();
    let mut kept = folder.manifests()?;
    let Some(newest) = kept.last().map(|manifest| manifest.id.clone()) else {
        return Ok(pruned);
    };
    kept.drain(..kept.len().saturating_sub(keep.max(1)));
    for path in subfolders(&folder.backups())? {
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A newer one without a manifest may be under way.
        if id > newest || kept.iter().any(|manifest| manifest.id == id) {
            continue;
        }
        remove_file(&path.join("manifest.json"))?;
        std::fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        pruned.backups.push(id);
    }
    for path in subfolders(&folder.archives())? {
        let record = path.join("archive.json");
        if record.exists() {
            prune_archive(folder, &read_json(&record)?, &kept, &mut pruned)?;
        }
    }
    Ok(pruned)
}

fn prune_archive(folder: &Folder, archive: &Archive, kept: &[Manifest], pruned: &mut Pruned) -> Result<(), Error> {
    let servers = kept.iter().flat_map(|manifest| &manifest.servers);
    let mine = servers.filter(|server| server.archive.as_ref() == Some(&archive.id));
    let Some(start) = mine.filter_map(|server| parse_lsn(&server.start_lsn)).min() else {
        let newest = kept.last().and_then(Manifest::ended_at);
        // One begun since the last backup waits for its first.
        if newest.is_some_and(|ended| archive.begun_at < ended) && !archive.is_written(folder) {
            let path = folder.archives().join(&archive.id);
            std::fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
            pruned.archives.push(archive.id.clone());
        }
        return Ok(());
    };
    for segment in segments(&folder.wal(&archive.id))? {
        if segment.ends_before(start) {
            remove_file(&segment.path)?;
            pruned.segments += 1;
        }
    }
    Ok(())
}

fn remove_file(path: &std::path::Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
