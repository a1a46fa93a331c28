//! One file, or a stream that somebody reads.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use event_store::{Cursor, ScanPage};

use crate::error::Error;
use crate::manifest::sync_folder;
use crate::part::{self, Format, Part};

/// A file that gets its name when it is whole, or a stream that is written to as events come.
pub(crate) struct OneFile {
    part: Part,
    /// Temporary and final name; `None`: a stream.
    names: Option<(PathBuf, PathBuf, File)>,
    cursor: Cursor,
    events: u64,
}

impl OneFile {
    pub(crate) fn create(path: &Path, format: Format, after: &Cursor) -> Result<Self, Error> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        // Left by one that died.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::file(&temporary)(error)),
            _ => {}
        }
        let file = part::create(&temporary)?;
        let output = file.try_clone().map_err(Error::file(&temporary))?;
        Ok(Self {
            part: Part::new(format, Box::new(output), &temporary)?,
            names: Some((temporary, path.to_owned(), file)),
            cursor: after.clone(),
            events: 0,
        })
    }

    pub(crate) fn stream(output: part::Output, format: Format, after: &Cursor) -> Result<Self, Error> {
        Ok(Self {
            part: Part::new(format, output, Path::new("-"))?,
            names: None,
            cursor: after.clone(),
            events: 0,
        })
    }

    pub(crate) fn write(&mut self, page: &ScanPage) -> Result<(), Error> {
        let path = self.names.as_ref().map_or(Path::new("-"), |(temporary, ..)| temporary);
        for event in &page.events {
            self.part.write(event, path)?;
            self.events += 1;
        }
        if self.names.is_none() {
            self.part.flush(Path::new("-"))?;
        }
        self.cursor.extend(&page.passed);
        Ok(())
    }

    /// A file that is not complete is removed; of a stream, what was written was written.
    pub(crate) fn finish(self, complete: bool) -> Result<(Cursor, u64), Error> {
        let Some((temporary, name, file)) = self.names else {
            self.part.finish(Path::new("-"))?;
            return Ok((self.cursor, self.events));
        };
        if !complete {
            fs::remove_file(&temporary).map_err(Error::file(&temporary))?;
            return Ok((Cursor::default(), 0));
        }
        self.part.finish(&temporary)?;
        file.sync_all().map_err(Error::file(&temporary))?;
        fs::rename(&temporary, &name).map_err(Error::file(&name))?;
        if let Some(folder) = name.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            sync_folder(folder)?;
        }
        Ok((self.cursor, self.events))
    }
}
