//! The files of one PostgreSQL: where they lie and how they come to be.
//!
//! `<data>/postgres/` belongs to the supervising user and holds `lock`,
//! `password`, `port`, `server.log` and `cluster/`; of a standby also
//! `primary.pass`, and with TLS `tls/`. Only `cluster/` is a folder of the
//! server's account, so nothing that the server (or whoever takes it over) can
//! change is written or followed by a supervising root.
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::binaries::Binaries;
use crate::recovery::Recovery;
use crate::settings::{Durability, Following};
use crate::standby::Primary;
use crate::{Error, secret, tls};

/// The role that Comanda connects as; the superuser of its own server.
pub(crate) const ROLE: &str = "comanda";

/// Whether this data folder holds a cluster already.
pub(crate) fn is_made(data: &Path) -> bool {
    data.join("postgres/cluster/PG_VERSION").exists()
}

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
}

impl Layout {
    /// The layout below a data folder, which becomes absolute and free of links:
    /// a process is recognised by its working folder, which the kernel reports so.
    ///
    /// Folders that did not exist are opened to the account of the server,
    /// whatever our umask; those that did keep their modes.
    pub(crate) fn create(data: &Path, account: &Account) -> Result<Self, Error> {
        let folder = data.join("postgres");
        let mode = if *account == Account::Ourselves { 0o700 } else { 0o755 };
        let missing: Vec<&Path> = folder.ancestors().take_while(|it| !it.exists()).collect();
        for &new in missing.iter().rev() {
            match std::fs::create_dir(new) {
                // Another server beside this one was quicker with a folder of both.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => made.map_err(Error::io("create the folder", new))?,
            }
            std::fs::set_permissions(new, Permissions::from_mode(mode)).map_err(Error::io("open up", new))?;
        }
        let folder = folder.canonicalize().map_err(Error::io("open the folder", &folder))?;
        Ok(Self { folder })
    }

    pub(crate) fn cluster(&self) -> PathBuf {
        self.folder.join("cluster")
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.folder.join("password")
    }

    pub(crate) fn port(&self) -> PathBuf {
        self.folder.join("port")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// The major version that made the existing data; `None` where there is none.
    pub(crate) fn made_by(&self) -> Option<u32> {
        std::fs::read_to_string(self.cluster().join("PG_VERSION"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The programs to run this data with: those of the version that made it, or
    /// for new data that of the server it is copied from, or the newest.
    pub(crate) fn binaries(&self, only: Option<&Path>, copied_from: Option<u32>) -> Result<Binaries, Error> {
        let made_by = self.made_by().or(copied_from);
        Binaries::find(only, made_by).map_err(|error| match (error, made_by) {
            (Error::NoPostgres { .. }, Some(major)) => Error::OtherMajor {
                cluster: self.cluster(),
                major,
            },
            (error, _) => error,
        })
    }

    /// Makes the cluster where there is none. It is built beside its place and
    /// renamed, so a kill in the middle leaves either none or a whole one.
    pub(crate) fn initialise(&self, binaries: &Binaries, account: &Account) -> Result<(), Error> {
        self.make(account, |unfinished| {
            secret::create(&self.password())?;
            account.own(&self.password())?;
            self.initdb(binaries, account, unfinished)
        })
    }

    /// Like [`Layout::initialise`], as a copy of a running server.
    pub(crate) fn copy(
        &self,
        primary: &Primary,
        binaries: &Binaries,
        account: &Account,
        durability: Durability,
    ) -> Result<(), Error> {
        self.make(account, |unfinished| {
            replace(&self.password(), &primary.password)?;
            account.own(&self.password())?;
            self.basebackup(primary, binaries, account, durability, unfinished)
        })
    }

    /// Like [`Layout::initialise`], from a backup.
    pub(crate) fn recover(&self, recovery: &Recovery, account: &Account) -> Result<(), Error> {
        self.make(account, |unfinished| {
            replace(&self.password(), &recovery.password)?;
            account.own(&self.password())?;
            recovery.fill(unfinished, account)
        })
    }

    fn make(&self, account: &Account, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
        if self.made_by().is_some() {
            return Ok(());
        }
        let unfinished = self.folder.join("cluster.new");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
        }
        std::fs::create_dir(&unfinished).map_err(Error::io("create the folder", &unfinished))?;
        std::fs::set_permissions(&unfinished, Permissions::from_mode(0o700))
            .map_err(Error::io("protect", &unfinished))?;
        account.own(&unfinished)?;
        fill(&unfinished)?;
        let cluster = self.cluster();
        std::fs::rename(&unfinished, &cluster).map_err(Error::io("create", &cluster))?;
        let folder = std::fs::File::open(&self.folder).map_err(Error::io("open", &self.folder))?;
        folder.sync_all().map_err(Error::io("write", &self.folder))
    }

    /// How to follow `primary`. The password goes into a file that only the
    /// account may read; on a command line every user of the machine could.
    pub(crate) fn following(&self, primary: &Primary, account: &Account) -> Result<Following, Error> {
        let passwords = self.folder.join("primary.pass");
        replace(&passwords, &format!("*:*:*:{ROLE}:{}\n", primary.password))?;
        account.own(&passwords)?;
        let Primary {
            port, authority, slot, ..
        } = primary;
        let mut conninfo = format!(
            "host=127.0.0.1 port={port} user={ROLE} application_name={slot} connect_timeout=5 passfile={}",
            quoted(&passwords)
        );
        match authority {
            Some(authority) => conninfo.push_str(&format!(" sslmode=verify-full sslrootcert={}", quoted(authority))),
            None => conninfo.push_str(" sslmode=disable"),
        }
        let slot = slot.clone();
        Ok(Following { conninfo, slot })
    }

    fn basebackup(
        &self,
        primary: &Primary,
        binaries: &Binaries,
        account: &Account,
        durability: Durability,
        into: &Path,
    ) -> Result<(), Error> {
        let program = binaries.program("pg_basebackup");
        let Following { conninfo, slot } = self.following(primary, account)?;
        let mut copy = account.command(&program);
        copy.arg("--pgdata").arg(into).args(["--dbname", &conninfo]);
        copy.args(["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf"]);
        copy.args(["--no-password", "--slot", &slot]);
        if durability == Durability::Throwaway {
            copy.arg("--no-sync");
        }
        self.run(&program, copy)
    }

    /// Text sorts by bytes (`C`): the same on every machine and after every update
    /// of the C library, which has broken indexes under other collations. Case is
    /// still that of Unicode. Checksums tell a failing disk from a bug.
    fn initdb(&self, binaries: &Binaries, account: &Account, into: &Path) -> Result<(), Error> {
        let mut initdb = account.command(&binaries.program("initdb"));
        initdb
            .arg("--pgdata")
            .arg(into)
            .arg("--pwfile")
            .arg(self.password())
            .args(["--username", ROLE]);
        initdb.args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--lc-ctype=C.UTF-8",
        ]);
        initdb.args(["--data-checksums"]);
        let program = binaries.program("initdb");
        self.run(&program, initdb)
    }

    fn run(&self, program: &Path, mut command: std::process::Command) -> Result<(), Error> {
        let said = command.output().map_err(Error::io("run", program))?;
        if said.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&said.stderr).trim().to_owned();
        Err(
            Error::from_output(&output, &self.folder, None).unwrap_or(Error::InitFailed {
                folder: self.folder.clone(),
                output,
            }),
        )
    }
}

/// Writes a file that its owner alone can read, in the place of any before it.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("replace", path)(error)),
        _ => tls::write(path, text.as_bytes(), 0o600),
    }
}

/// A path as a value in a connection string of libpq.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    format!("'{}'", path.replace('\\', r"\\").replace('\'', r"\'"))
}

/// Where a database of the server is reached. On loopback TLS protects nothing and
/// costs a round trip per connection, so it is not even asked for unless the server
/// insists on it; then its certificate is checked against `authority`.
pub(crate) fn url(port: u16, password: &str, database: &str, authority: Option<&Path>) -> String {
    let security = authority.map_or_else(
        || "sslmode=disable".to_owned(),
        |authority| format!("sslmode=verify-full&sslrootcert={}", authority.display()),
    );
    format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{database}?{security}")
}
