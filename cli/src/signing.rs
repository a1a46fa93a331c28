//! Which keys sign and check tokens: the settings', or else a development secret of the data
//! folder's own.

use std::io;
use std::path::{Path, PathBuf};

use service::settings::{AuthSettings, KeyAlgorithm, KeySettings};

use crate::private_file;

const SECRET_BYTES: usize = 32;

/// Where the development secret lies.
pub(crate) fn secret_file(data: &Path) -> PathBuf {
    data.join("development-signing-secret")
}

/// Makes the development secret where there is none. It never changes afterwards, so tokens
/// outlive restarts.
pub(crate) fn ensure_secret(data: &Path) -> io::Result<()> {
    let secret: [u8; SECRET_BYTES] = rand::random();
    private_file::create_if_absent(&secret_file(data), &hex::encode(secret))
}

/// Whether tokens are checked with the development secret.
pub(crate) fn is_development(auth: &AuthSettings) -> bool {
    auth.keys.is_empty() && auth.signing.is_none()
}

/// The settings with the development secret where they name no key.
pub(crate) fn with_secret(mut auth: AuthSettings, data: &Path) -> AuthSettings {
    if is_development(&auth) {
        auth.keys.push(KeySettings {
            kid: None,
            algorithm: KeyAlgorithm::Hs256,
            secret: None,
            secret_file: Some(secret_file(data)),
            public_key_file: None,
        });
    }
    auth
}
