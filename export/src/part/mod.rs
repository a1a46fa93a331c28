//! One file of events, in one of three formats.

pub(crate) mod csv;
pub(crate) mod parquet;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use event_store::RecordedEvent;

use self::csv::CsvPart;
use self::parquet::ParquetPart;
use crate::error::Error;
use crate::line::Line;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON document a line: [`Line`](crate::Line).
    Ndjson,
    /// [`COLUMNS`](crate::COLUMNS), with a header.
    Csv,
    /// [`COLUMNS`](crate::COLUMNS), typed; compressed with zstd.
    Parquet,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Where a file's bytes go.
pub type Output = Box<dyn Write + Send>;

/// A file that is being written.
pub(crate) enum Part {
    Ndjson(BufWriter<Output>),
    Csv(Box<CsvPart>),
    Parquet(Box<ParquetPart>),
}

impl Part {
    pub(crate) fn new(format: Format, output: Output, path: &Path) -> Result<Self, Error> {
        Ok(match format {
            Format::Ndjson => Self::Ndjson(BufWriter::with_capacity(64 << 10, output)),
            Format::Csv => Self::Csv(Box::new(CsvPart::new(output).map_err(Error::file(path))?)),
            Format::Parquet => Self::Parquet(Box::new(ParquetPart::new(output, path)?)),
        })
    }

    pub(crate) fn write(&mut self, event: &RecordedEvent, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ndjson(out) => {
                serde_json::to_writer(&mut *out, &Line::of(event)).map_err(|error| Error::file(path)(error.into()))?;
                out.write_all(b"\n").map_err(Error::file(path))
            }
            Self::Csv(out) => out.write(event).map_err(Error::file(path)),
            Self::Parquet(out) => out.write(event, path),
        }
    }

    /// What a shell's next command must be able to see.
    pub(crate) fn flush(&mut self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ndjson(out) => out.flush().map_err(Error::file(path)),
            Self::Csv(out) => out.flush().map_err(Error::file(path)),
            // Is nothing before its end.
            Self::Parquet(_) => Ok(()),
        }
    }

    pub(crate) fn finish(self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ndjson(mut out) => out.flush().map_err(Error::file(path)),
            Self::Csv(mut out) => out.flush().map_err(Error::file(path)),
            Self::Parquet(out) => out.finish(path),
        }
    }

    /// Bytes held in memory, about.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Ndjson(_) | Self::Csv(_) => 64 << 10,
            Self::Parquet(out) => out.memory(),
        }
    }

    /// Writes what is held in memory, at the cost of a smaller row group.
    pub(crate) fn spill(&mut self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ndjson(_) | Self::Csv(_) => Ok(()),
            Self::Parquet(out) => out.spill(path),
        }
    }
}

/// Events to a stream, such as stdout; not as Parquet, which no stream can be.
#[derive(Debug)]
pub struct EventWriter(Part);

impl EventWriter {
    /// # Errors
    /// [`Error::Settings`] for Parquet, and where the stream cannot be written to.
    pub fn new(format: Format, output: Output) -> Result<Self, Error> {
        match format {
            Format::Ndjson | Format::Csv => Part::new(format, output, STREAM.as_ref()).map(Self),
            Format::Parquet => Err(Error::Settings("Parquet goes to a file or a folder".to_owned())),
        }
    }

    /// # Errors
    /// [`Error::Closed`] where nobody reads any more; [`Error::File`].
    pub fn write(&mut self, event: &RecordedEvent) -> Result<(), Error> {
        self.0.write(event, STREAM.as_ref())
    }

    /// # Errors
    /// As [`EventWriter::write`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.0.flush(STREAM.as_ref())
    }
}

/// What a stream is called in errors.
const STREAM: &str = "the output";

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ndjson(_) => "ndjson",
            Self::Csv(_) => "csv",
            Self::Parquet(_) => "parquet",
        })
    }
}

/// Creates a file that must not be there.
pub(crate) fn create(path: &Path) -> Result<File, Error> {
    File::create_new(path).map_err(Error::file(path))
}
