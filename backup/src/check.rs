//! Whether what lies in a backup folder can be restored, without restoring it.

use std::path::{Path, PathBuf};

use crate::base::verify;
use crate::error::Error;
use crate::folder::Folder;
use crate::manifest::{Manifest, ServerRecord};
use crate::programs;

/// What was found of one server in one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub backup: String,
    pub server: String,
    /// Archived segments behind the base backup, the one being written included.
    pub segments: usize,
    pub problem: Option<Problem>,
}

/// Why it cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub detail: String,
    pub remedy: String,
}

/// Reads every file of every backup and every record of the log behind it.
///
/// # Errors
/// Where the folder itself cannot be read; what is wrong with a backup is in the answer.
pub async fn check(folder: &Folder) -> Result<Vec<Checked>, Error> {
    let mut found = Vec::new();
    for manifest in folder.manifests()? {
        for server in &manifest.servers {
            let checked = check_server(folder, &manifest, server).await;
            let problem = checked.as_ref().err().map(|error| Problem {
                detail: error.to_string(),
                remedy: error.remedy(),
            });
            found.push(Checked {
                backup: manifest.id.clone(),
                server: server.server.clone(),
                segments: checked.unwrap_or_default(),
                problem,
            });
        }
    }
    Ok(found)
}

async fn check_server(folder: &Folder, manifest: &Manifest, server: &ServerRecord) -> Result<usize, Error> {
    let base = folder.base(&manifest.id, &server.server);
    verify(server.postgres_major, &base).await?;
    let Some(archive) = &server.archive else { return Ok(0) };
    let segments = behind(&folder.wal(archive), server)?;
    let whole = segments.iter().rev().find(|segment| !segment.partial);
    if let Some(last) = whole {
        let mut dump = programs::command(server.postgres_major, "pg_waldump")?;
        dump.arg("--quiet").arg("--path").arg(folder.wal(archive));
        dump.args(["--timeline", &server.timeline.to_string(), "--start", &server.start_lsn]);
        dump.args(["--end", &last.end_lsn()]);
        programs::run(dump, "pg_waldump").await?;
    }
    Ok(segments.len())
}

/// A segment of the log in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) timeline: i64,
    number: u64,
    bytes: u64,
    pub(crate) partial: bool,
}

impl Segment {
    fn read(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (digits, partial) = match name.strip_suffix(".partial") {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        if digits.len() != 24 {
            return None;
        }
        let part = |from: usize| u64::from_str_radix(digits.get(from..from + 8)?, 16).ok();
        // The one being written has its whole length from the first byte on.
        let bytes = path.metadata().ok()?.len();
        let per_log = (1_u64 << 32).checked_div(bytes)?;
        Some(Self {
            path: path.to_owned(),
            timeline: i64::try_from(part(0)?).ok()?,
            number: part(8)? * per_log + part(16)?,
            bytes,
            partial,
        })
    }

    /// Whether all of it lies before this position.
    pub(crate) fn ends_before(&self, position: u64) -> bool {
        !self.partial && (self.number + 1) * self.bytes <= position
    }

    fn end_lsn(&self) -> String {
        let end = (self.number + 1) * self.bytes;
        format!("{:X}/{:X}", end >> 32, end & 0xFFFF_FFFF)
    }

    fn name(&self, number: u64) -> String {
        let per_log = (1_u64 << 32) / self.bytes;
        format!("{:08X}{:08X}{:08X}", self.timeline, number / per_log, number % per_log)
    }
}

/// All segments in an archive, in no order.
pub(crate) fn segments(wal: &Path) -> Result<Vec<Segment>, Error> {
    let entries = std::fs::read_dir(wal).map_err(Error::io("read the folder", wal))?;
    let found = entries.flatten().filter_map(|entry| Segment::read(&entry.path()));
    Ok(found.collect())
}

/// The segments from the beginning of a base backup on, of its timeline, none missing.
pub(crate) fn behind(wal: &Path, server: &ServerRecord) -> Result<Vec<Segment>, Error> {
    let mut all = segments(wal)?;
    all.retain(|segment| segment.timeline == server.timeline);
    all.sort_by_key(|segment| (segment.number, segment.partial));
    all.dedup_by_key(|segment| segment.number);
    let gap = |segment: String| Error::Gap {
        server: server.server.clone(),
        segment,
    };
    let start = parse_lsn(&server.start_lsn).ok_or_else(|| gap(server.start_lsn.clone()))?;
    let Some(bytes) = all.first().map(|segment| segment.bytes) else {
        return Err(gap(format!("everything from {} on", server.start_lsn)));
    };
    let first = start / bytes;
    let found: Vec<Segment> = all.into_iter().filter(|segment| segment.number >= first).collect();
    if let Some((due, behind)) = (first..).zip(&found).find(|(due, segment)| segment.number != *due) {
        return Err(gap(behind.name(due)));
    }
    if found.is_empty() {
        return Err(gap(format!("everything from {} on", server.start_lsn)));
    }
    Ok(found)
}

pub(crate) fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some((u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_segments_are_named_as_postgres_does() {
        assert_eq!(parse_lsn("1/2000028"), Some(0x1_0200_0028));
        let segment = Segment {
            path: PathBuf::new(),
            timeline: 1,
            number: 0x103,
            bytes: 16 << 20,
            partial: false,
        };
        assert_eq!(segment.name(0x103), "000000010000000100000003");
        assert_eq!(segment.end_lsn(), "1/4000000");
    }
}
