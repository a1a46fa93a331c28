//! Reads the file record by record, in bounded memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::ByteRecord;

use super::options::ImportArgs;

/// The longest record. A quotation mark that never closes would otherwise read the whole file as
/// one field.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// Why the file as a whole cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("the file cannot be read")]
    Io(#[source] io::Error),
    #[error(
        "line {line} is longer than 1 MiB or opens a quotation mark that never closes; \
         where quotation marks are ordinary characters, give --no-quotes"
    )]
    Runaway { line: u64 },
    #[error("the file is empty; its first line must name the columns")]
    NoHeader,
}

/// How far a reading has come, shared with the progress bar.
#[derive(Debug, Clone, Default)]
pub(crate) struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The file, read with two questions in mind: whether one record eats more than its allowance, and
/// on which line each begins. (`csv` counts blank lines to the record that follows them.)
#[derive(Debug)]
struct Metered {
    file: File,
    read: BytesRead,
    /// Bytes after which reading is refused.
    limit: u64,
    line: u64,
    line_is_blank: bool,
    /// Where lines that are not blank begin, as far as they were read ahead: offset and number.
    lines: VecDeque<(u64, u64)>,
}

impl Metered {
    fn new(file: File) -> Self {
        let read = BytesRead::default();
        Self {
            file,
            read,
            limit: MAX_RECORD_BYTES,
            line: 1,
            line_is_blank: true,
            lines: VecDeque::new(),
        }
    }

    /// The line of the record whose first byte is at `offset` or behind blank lines there.
    fn take_line(&mut self, offset: u64) -> Option<u64> {
        while self.lines.front().is_some_and(|(start, _)| *start < offset) {
            self.lines.pop_front();
        }
        self.lines.pop_front().map(|(_, line)| line)
    }
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let before = self.read.get();
        if before > self.limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let count = self.file.read(buffer)?;
        for (offset, byte) in (before..).zip(&buffer[..count]) {
            match byte {
                b'\n' => (self.line, self.line_is_blank) = (self.line + 1, true),
                b'\r' => {}
                _ if self.line_is_blank => {
                    self.line_is_blank = false;
                    self.lines.push_back((offset, self.line));
                }
                _ => {}
            }
        }
        self.read.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The records of one file.
#[derive(Debug)]
pub(crate) struct Records {
    reader: csv::Reader<Metered>,
    record: ByteRecord,
    /// The line that the last record began on.
    line: u64,
}

impl Records {
    pub(crate) fn open(args: &ImportArgs) -> Result<Self, FileError> {
        let file = File::open(&args.file).map_err(FileError::Io)?;
        let reader = csv::ReaderBuilder::new()
            .delimiter(args.delimiter.unwrap_or_else(|| delimiter_of(&args.file)))
            .quoting(!args.no_quotes)
            .flexible(true)
            .has_headers(false)
            .from_reader(Metered::new(file));
        Ok(Self {
            reader,
            record: ByteRecord::new(),
            line: 0,
        })
    }

    pub(crate) fn bytes_read(&self) -> BytesRead {
        self.reader.get_ref().read.clone()
    }

    /// The column names.
    pub(crate) fn header(&mut self) -> Result<Vec<String>, FileError> {
        let Some((_, record)) = self.next()? else {
            return Err(FileError::NoHeader);
        };
        Ok(record
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim().to_owned())
            .collect())
    }

    /// The next record and the number of the line that it begins on.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &ByteRecord)>, FileError> {
        let source = self.reader.get_mut();
        source.limit = source.read.get() + MAX_RECORD_BYTES;
        let read = self.reader.read_byte_record(&mut self.record);
        let offset = self.record.position().map_or(0, csv::Position::byte);
        if let Some(line) = self.reader.get_mut().take_line(offset) {
            self.line = line;
        }
        match read {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some((self.line, &self.record))),
            Err(error) => Err(self.file_error(error)),
        }
    }

    fn file_error(&self, error: csv::Error) -> FileError {
        let source = match error.into_kind() {
            csv::ErrorKind::Io(source) => source,
            other => io::Error::other(format!("{other:?}")),
        };
        if source.kind() == io::ErrorKind::FileTooLarge {
            return FileError::Runaway { line: self.line };
        }
        FileError::Io(source)
    }
}

fn delimiter_of(path: &Path) -> u8 {
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    if extension.eq_ignore_ascii_case("tsv") || extension.eq_ignore_ascii_case("tab") {
        b'\t'
    } else {
        b','
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ImportArgs,
    }

    /// Each record's line and first field.
    fn lines(content: &[u8]) -> Vec<(u64, String)> {
        let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        file.write_all(content).unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let args = Line::parse_from(["import", &path, "--tenant", "t", "--establishment", "e"]).args;
        let mut records = Records::open(&args).unwrap();
        let mut found = Vec::new();
        while let Some((line, record)) = records.next().unwrap() {
            found.push((line, String::from_utf8_lossy(&record[0]).into_owned()));
        }
        found
    }

    #[test]
    fn given_blank_lines_and_fields_of_several_lines_then_records_keep_their_line_numbers() {
        let expected =
            [(1, "a"), (4, "b"), (5, "c\nc"), (7, "d"), (8, "e")].map(|(line, field)| (line, field.to_owned()));
        assert_eq!(lines(b"a,1\n\n\nb,1\n\"c\nc\",1\nd,1\ne,1"), expected);
        let windows = lines(b"a,1\r\n\r\n\r\nb,1\r\n\"c\nc\",1\r\nd,1\r\ne,1\r\n");
        assert_eq!(windows, expected);
    }

    #[test]
    fn given_a_byte_order_mark_then_it_is_no_part_of_the_first_name() {
        assert_eq!(
            lines(b"\xef\xbb\xbfa\nb\nc\n"),
            [(1, "a"), (2, "b"), (3, "c")].map(|(l, f)| (l, f.to_owned()))
        );
    }

    #[test]
    fn given_a_file_larger_than_the_read_buffer_then_every_line_number_is_right() {
        let content: String = (1..=40_000).map(|line| format!("{line},x\n")).collect();
        assert!(
            lines(content.as_bytes())
                .iter()
                .all(|(line, field)| line.to_string() == *field)
        );
    }
}
