//! TLS of a server: its certificate, and the door that is closed without it.
//!
//! The server's account may not be able to reach the files that it is given, and
//! PostgreSQL insists on owning its key, so it gets copies in a folder of its own
//! beside the cluster, made anew at every start: a certificate that was renewed
//! is in force after one.
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::account::Account;

/// The files of a server's certificate. With them every connection must be
/// encrypted, and whoever connects by [`crate::Server::url`] checks the server's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate (PEM), with intermediate ones after it; it names `127.0.0.1`.
    pub certificate: PathBuf,
    /// Its key (PEM, without a passphrase).
    pub key: PathBuf,
    /// The authority that clients are told to trust (PEM).
    pub authority: PathBuf,
}

/// The copies that belong to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// `pg_hba.conf` that lets nobody in without TLS.
    pub(crate) doors: PathBuf,
    pub(crate) authority: PathBuf,
}

const DOORS: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl replication all 127.0.0.1/32 scram-sha-256\n";

impl TlsFiles {
    pub(crate) fn install(tls: &Tls, folder: &Path, account: &Account) -> Result<Self, Error> {
        let folder = folder.join("tls");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
        }
        std::fs::create_dir(&folder).map_err(Error::io("create the folder", &folder))?;
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(Error::io("open up", &folder))?;
        let put = |name: &str, text: &[u8], mode: u32| {
            let path = folder.join(name);
            write(&path, text, mode)?;
            account.own(&path)?;
            Ok::<_, Error>(path)
        };
        Ok(Self {
            certificate: put("server.crt", &read(&tls.certificate)?, 0o644)?,
            key: put("server.key", &read(&tls.key)?, 0o600)?,
            authority: put("authority.crt", &read(&tls.authority)?, 0o644)?,
            doors: put("pg_hba.conf", DOORS.as_bytes(), 0o644)?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(Error::io("read", path))
}

/// A new file that has its mode from the first moment.
pub(crate) fn write(path: &Path, text: &[u8], mode: u32) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text))
        .map_err(Error::io("write", path))
}
