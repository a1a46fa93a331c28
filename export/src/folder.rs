//! A folder of files, one partition for each tenant and day: `tenant=…/day=…/part-….EXT`.
//!
//! Guarantee: every event that the scan yields is in the folder once, whatever dies when, as soon as
//! the export has ended; and at any time, what has a final name is whole. Files are written under
//! temporary names, in rounds; a round counts at one moment ([`Manifest`]). On a crash the next export
//! with `resume` gives a counted round its names, removes the files of one that was not counted, and
//! goes on from the manifest's cursor.
//!
//! Memory is bounded: at most [`OPEN_MAX`] files are open, which together hold at most [`MEMORY_MAX`], and
//! events of at most [`WAITING_MAX`] wait for their file. What exceeds it costs smaller row groups, or
//! more files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use domain::TenantId;
use event_store::{Cursor, RecordedEvent, ScanPage};
use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;
use crate::manifest::{self, Manifest};
use crate::part::{self, Format, Part};

/// Files that are open at the same time.
const OPEN_MAX: usize = 128;
/// Bytes that open files hold together.
const MEMORY_MAX: usize = 64 << 20;
/// Bytes of events that wait to be written.
const WAITING_MAX: usize = 32 << 20;
/// What an event takes besides its payload, about.
const EVENT_BYTES: usize = 1_500;
const LOCK: &str = "_comanda_export.lock";

/// What the files of an export lie in one folder by.
type Partition = (TenantId, NaiveDate);

struct Open {
    part: Part,
    file: File,
    /// Within the folder.
    temporary: PathBuf,
    name: PathBuf,
    /// When it was last written to.
    used: u64,
}

/// Events of a partition that are not written yet.
#[derive(Default)]
struct Waiting {
    events: Vec<RecordedEvent>,
    bytes: usize,
}

/// A folder that is being exported to.
pub(crate) struct Folder {
    path: PathBuf,
    format: Format,
    manifest: Manifest,
    /// All that lies up to here was written, counted or not.
    cursor: Cursor,
    waiting: HashMap<Partition, Waiting>,
    waiting_bytes: usize,
    open: HashMap<Partition, Open>,
    /// Counts writes to files.
    uses: u64,
    /// Files of this round that are whole: temporary and final names.
    whole: Vec<(PathBuf, PathBuf)>,
    /// Events of this round, and events after which it is made to count.
    written: u64,
    round_events: u64,
    _lock: Flock<File>,
}

impl Folder {
    /// Prepares a folder: a new one, or with `resume` one that holds such an export.
    pub(crate) fn open(
        path: &Path,
        format: Format,
        selection: &str,
        after: &Cursor,
        resume: bool,
        round_events: u64,
    ) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::file(path))?;
        let lock = lock(path)?;
        let manifest = match (Manifest::read(path)?, resume) {
            (Some(manifest), true) => taken_up(path, manifest, format, selection)?,
            (None, true) => return Err(Error::NothingToResume(path.to_owned())),
            (None, false) if is_empty(path)? => Manifest::new(format.as_str(), selection, after),
            (_, false) => return Err(Error::NotEmpty(path.to_owned())),
        };
        Ok(Self {
            cursor: manifest.cursor(path)?,
            path: path.to_owned(),
            format,
            manifest,
            waiting: HashMap::new(),
            waiting_bytes: 0,
            open: HashMap::new(),
            uses: 0,
            whole: Vec::new(),
            written: 0,
            round_events: round_events.max(1),
            _lock: lock,
        })
    }

    /// How far the folder is.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Where an export that was interrupted was to end.
    pub(crate) fn until(&self) -> Option<Cursor> {
        let unfinished = !self.manifest.complete && !self.manifest.until.is_empty();
        unfinished.then(|| self.manifest.until.parse().ok()).flatten()
    }

    /// Notes where the export is to end, before the first event.
    pub(crate) fn begin(&mut self, until: &Cursor) -> Result<(), Error> {
        (self.manifest.until, self.manifest.complete) = (until.to_string(), false);
        self.manifest.commit(&self.path, Vec::new())
    }

    pub(crate) fn write(&mut self, page: ScanPage) -> Result<(), Error> {
        for event in page.events {
            self.take(event)?;
        }
        self.cursor.extend(&page.passed);
        Ok(())
    }

    /// Events wait, so that a file that has to be opened gets many at once.
    fn take(&mut self, event: RecordedEvent) -> Result<(), Error> {
        let day = event.recorded_at.as_datetime().date_naive();
        let partition = (event.stream.tenant().clone(), day);
        let bytes = event.payload.get().len() + EVENT_BYTES;
        self.cursor.set(event.token());
        self.written += 1;
        self.waiting_bytes += bytes;
        let waiting = self.waiting.entry(partition).or_default();
        waiting.bytes += bytes;
        waiting.events.push(event);
        if self.written >= self.round_events {
            self.commit()
        } else if self.waiting_bytes > WAITING_MAX {
            self.write_largest()
        } else {
            Ok(())
        }
    }

    /// Writes what waits, the largest partitions first, until half of it is left.
    fn write_largest(&mut self) -> Result<(), Error> {
        let mut largest: Vec<(usize, Partition)> = self
            .waiting
            .iter()
            .map(|(partition, waiting)| (waiting.bytes, partition.clone()))
            .collect();
        largest.sort_unstable_by_key(|largest| std::cmp::Reverse(largest.0));
        for (_, partition) in largest {
            if self.waiting_bytes <= WAITING_MAX / 2 {
                break;
            }
            self.write_waiting(&partition)?;
        }
        Ok(())
    }

    fn write_waiting(&mut self, partition: &Partition) -> Result<(), Error> {
        let Some(waiting) = self.waiting.remove(partition) else {
            return Ok(());
        };
        self.waiting_bytes -= waiting.bytes;
        if !self.open.contains_key(partition) {
            self.make_room()?;
            let open = self.create(partition)?;
            self.open.insert(partition.clone(), open);
        }
        self.uses += 1;
        if let Some(open) = self.open.get_mut(partition) {
            open.used = self.uses;
            for event in &waiting.events {
                open.part.write(event, &open.temporary)?;
            }
        }
        self.spill()
    }

    fn create(&self, (tenant, day): &Partition) -> Result<Open, Error> {
        let folder = PathBuf::from(format!("tenant={tenant}")).join(format!("day={day}"));
        let here = self.path.join(&folder);
        fs::create_dir_all(&here).map_err(Error::file(&here))?;
        // Of one round there may be several: a file is closed when others need its place.
        let number = self.whole.len();
        let base = format!(
            "part-{:05}-{number:05}.{}",
            self.manifest.rounds + 1,
            self.format.as_str()
        );
        let temporary = folder.join(format!(".{base}.tmp"));
        let path = self.path.join(&temporary);
        let file = part::create(&path)?;
        let output = file.try_clone().map_err(Error::file(&path))?;
        Ok(Open {
            part: Part::new(self.format, Box::new(output), &path)?,
            file,
            temporary,
            name: folder.join(base),
            used: self.uses,
        })
    }

    /// Closes the file that was not written to for longest, where there are too many.
    fn make_room(&mut self) -> Result<(), Error> {
        while self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
            let Some(partition) = oldest.map(|(partition, _)| partition.clone()) else {
                break;
            };
            self.close(&partition)?;
        }
        Ok(())
    }

    fn close(&mut self, partition: &Partition) -> Result<(), Error> {
        let Some(open) = self.open.remove(partition) else {
            return Ok(());
        };
        let path = self.path.join(&open.temporary);
        open.part.finish(&path)?;
        open.file.sync_all().map_err(Error::file(&path))?;
        self.whole.push((open.temporary, open.name));
        Ok(())
    }

    /// Has the largest write what they hold, until together they hold half of what they may.
    fn spill(&mut self) -> Result<(), Error> {
        let mut held: Vec<(usize, &mut Open)> = self.open.values_mut().map(|open| (open.part.memory(), open)).collect();
        let mut total: usize = held.iter().map(|(bytes, _)| bytes).sum();
        if total <= MEMORY_MAX {
            return Ok(());
        }
        held.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, open) in held {
            if total <= MEMORY_MAX / 2 {
                break;
            }
            open.part.spill(&open.temporary)?;
            total -= bytes;
        }
        Ok(())
    }

    /// Makes what was written so far count.
    fn commit(&mut self) -> Result<(), Error> {
        let waiting: Vec<Partition> = self.waiting.keys().cloned().collect();
        for partition in waiting {
            self.write_waiting(&partition)?;
        }
        let open: Vec<Partition> = self.open.keys().cloned().collect();
        for partition in open {
            self.close(&partition)?;
        }
        // The names must be on the disk before the manifest speaks of them.
        let folders: std::collections::BTreeSet<_> = self
            .whole
            .iter()
            .filter_map(|(temporary, _)| temporary.parent())
            .collect();
        for folder in folders {
            manifest::sync_folder(&self.path.join(folder))?;
        }
        self.manifest.cursor = self.cursor.to_string();
        self.manifest.events += std::mem::take(&mut self.written);
        self.manifest.rounds += u32::from(!self.whole.is_empty());
        self.manifest.commit(&self.path, std::mem::take(&mut self.whole))
    }

    /// Makes everything count; `complete` where nothing is left to write. Returns the events in the
    /// folder.
    pub(crate) fn finish(mut self, complete: bool) -> Result<(Cursor, u64), Error> {
        self.manifest.complete = complete;
        self.commit()?;
        Ok((self.cursor, self.manifest.events))
    }
}

fn lock(folder: &Path) -> Result<Flock<File>, Error> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(Error::file(&path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::Busy(folder.to_owned()))
}

fn is_empty(folder: &Path) -> Result<bool, Error> {
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        if entry.map_err(Error::file(folder))?.file_name() != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Brings the folder to what its manifest says.
fn taken_up(path: &Path, manifest: Manifest, format: Format, selection: &str) -> Result<Manifest, Error> {
    if (manifest.format.as_str(), manifest.selection.as_str()) != (format.as_str(), selection) {
        return Err(Error::OtherExport {
            path: path.to_owned(),
            theirs: format!("{} of {}", manifest.format, manifest.selection),
            ours: format!("{} of {selection}", format.as_str()),
        });
    }
    manifest.rename_all(path)?;
    remove_temporary(path)?;
    Ok(manifest)
}

/// Removes what a process that died had begun and not made count.
fn remove_temporary(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && (name.starts_with("tenant=") || name.starts_with("day=")) {
            remove_temporary(&path)?;
        } else if name.starts_with(".part-") && name.ends_with(".tmp") {
            fs::remove_file(&path).map_err(Error::file(&path))?;
        }
    }
    Ok(())
}
