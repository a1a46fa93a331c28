//! The generated password of the database.
//!
//! Why a password at all on loopback: 127.0.0.1 is open to every user of the
//! machine, and `trust` would let each of them in as superuser. With
//! scram-sha-256 only those get in who can read this file, which is its owner.
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::Error;

/// `bytes` bytes from the kernel's generator, in hex.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; BYTES];
    let mut file = File::open(source).map_err(Error::io("open", source))?;
    file.read_exact(&mut bytes).map_err(Error::io("read", source))?;
    Ok(hex::encode(bytes))
}

/// Writes a new password, readable by its owner only from the first moment.
/// One that is there already belonged to an attempt that did not finish.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("replace", path)(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))?;
    let password = random_hex::<32>()?;
    file.write_all(password.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Ok(password) if password.trim().is_empty() => Err(Error::PasswordMissing { path: path.to_owned() }),
        Ok(password) => {
            // A copy or restore may have widened it.
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(Error::io("protect", path))?;
            Ok(password.trim().to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::PasswordMissing { path: path.to_owned() })
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
