//! One supervisor per data folder. The kernel drops the lock with the process,
//! so a killed one leaves nothing to clean up.
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::Error;

#[derive(Debug)]
pub(crate) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Takes the lock or says who has it. A holder that was just killed may be
    /// still on its way out, so it is asked for a little while.
    pub(crate) fn take(path: &Path, data: &Path) -> Result<Self, Error> {
        let give_up = Instant::now() + Duration::from_millis(500);
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(path);
            match Flock::lock(file.map_err(Error::io("open", path))?, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Self::sign(held, path),
                Err((mut file, _)) if Instant::now() > give_up => {
                    let mut holder = String::new();
                    let pid = file
                        .read_to_string(&mut holder)
                        .ok()
                        .and_then(|_| holder.trim().parse().ok());
                    return Err(Error::AlreadyRunning {
                        folder: data.to_owned(),
                        pid,
                    });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Leaves our process number, for the message that the next one prints.
    fn sign(mut held: Flock<File>, path: &Path) -> Result<Self, Error> {
        let pid = std::process::id().to_string();
        held.set_len(0)
            .and_then(|()| held.rewind())
            .and_then(|()| held.write_all(pid.as_bytes()))
            .map_err(Error::io("write", path))?;
        Ok(Self { _held: held })
    }
}
