//! Secrets stand in files of their own, so that the settings can be shown to anybody.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::folder::write_private;

const SECRET_BYTES: usize = 32;

/// The secret that tokens are signed with, made once: tokens outlive restarts.
pub(crate) fn ensure_token_secret(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("token-secret");
    if !path.exists() {
        let secret: [u8; SECRET_BYTES] = rand::random();
        write_private(&path, &hex::encode(secret))?;
    }
    Ok(path)
}

/// Writes each secret into the file of its name.
pub(crate) fn write(folder: &Path, secrets: &[(String, String)]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for (name, secret) in secrets {
        let path = folder.join(name);
        write_private(&path, secret)?;
        files.push(path);
    }
    Ok(files)
}
