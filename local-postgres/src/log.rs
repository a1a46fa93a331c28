//! Keeps the server's log bounded. PostgreSQL holds the file open for appending,
//! so it is copied and emptied in place; lines written in between are lost,
//! which a diagnostic log can bear.
use std::fs::OpenOptions;
use std::path::Path;

use crate::Error;

pub(crate) const LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Moves a log beyond `limit_bytes` to `<log>.1`, replacing the one before it.
pub(crate) fn trim(log: &Path, limit_bytes: u64) -> Result<(), Error> {
    let Ok(metadata) = log.metadata() else { return Ok(()) };
    if metadata.len() <= limit_bytes {
        return Ok(());
    }
    let older = log.with_extension("log.1");
    std::fs::copy(log, &older).map_err(Error::io("copy the log to", &older))?;
    let emptied = OpenOptions::new()
        .write(true)
        .open(log)
        .and_then(|file| file.set_len(0));
    emptied.map_err(Error::io("empty", log))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_long_log_is_moved_aside_and_still_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        writer.write_all(b"old lines").unwrap();
        trim(&log, 9).unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"old lines");
        trim(&log, 8).unwrap();
        writer.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), b"new");
        assert_eq!(std::fs::read(folder.path().join("server.log.1")).unwrap(), b"old lines");
    }
}
