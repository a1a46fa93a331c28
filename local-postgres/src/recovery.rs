//! Data recovered from a base backup and an archive of the log that was written since, up to a time.
//!
//! Guarantee: the data is that of one moment: every commit before it, none after it. A folder that
//! holds data is never recovered over.
//!
//! Killed in the middle it leaves a folder that no server starts on by accident: PostgreSQL refuses
//! to go on with half a recovery. Remove the folder and recover again. The backup is only read.
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::binaries::Binaries;
use crate::cluster::Layout;
use crate::server::{Config, Origin, Server};
use crate::{Error, cluster, tls};

/// What to recover from.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// A base backup in plain format.
    pub base: PathBuf,
    /// Segments of the log and histories of timelines, as `pg_receivewal` leaves them; the last one
    /// may be `.partial`.
    pub wal: Vec<PathBuf>,
    pub until: RecoverUntil,
    /// The password of the role `comanda` in the backup; not used before the first connection.
    pub password: String,
}

/// Where recovery stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoverUntil {
    /// At the end of the log that there is.
    EndOfArchive,
    /// Before the first commit later than this, a `timestamptz` whose zone is a number (`+00`).
    Time(String),
}

/// How a server finds the log to recover from.
#[derive(Debug, Clone)]
pub(crate) struct Recovering {
    pub(crate) wal: PathBuf,
    pub(crate) until: RecoverUntil,
    /// In the place of the settings in the backup, which may name files of another machine.
    pub(crate) config: PathBuf,
    pub(crate) doors: PathBuf,
}

const DOORS: &str = "host all all 127.0.0.1/32 scram-sha-256\n";

impl Server {
    /// Recovers into `config.data`, which must not hold data, and returns the server once it is
    /// open, on a timeline of its own. `config.start_timeout` bounds the recovery. It runs with the
    /// settings of a recovery: look at it, then stop it and [`Server::start`] it.
    ///
    /// # Errors
    /// [`Error::HoldsData`]; [`Error::EndsBefore`] where the log ends before the time asked for;
    /// what [`Server::start`] returns. What was made of the folder stays, for a look at its log.
    pub async fn recover(config: Config, recovery: Recovery) -> Result<Self, Error> {
        if cluster::is_made(&config.data) {
            return Err(Error::HoldsData { folder: config.data });
        }
        let wal = config.data.join("postgres").join(WAL);
        let server = Self::begin(config, Origin::Recovered(Box::new(recovery))).await?;
        // All of it was replayed, and what counts from here on is the server's own.
        std::fs::remove_dir_all(&wal).map_err(Error::io("remove", &wal))?;
        Ok(server)
    }
}

const WAL: &str = "recovery";

impl Recovery {
    /// The major version of PostgreSQL that the backup is of.
    pub(crate) fn major(&self) -> Option<u32> {
        let version = std::fs::read_to_string(self.base.join("PG_VERSION")).ok()?;
        version.trim().parse().ok()
    }

    /// Copies what is needed to where the server's account can read it.
    pub(crate) fn prepare(&self, layout: &Layout, account: &Account) -> Result<Recovering, Error> {
        let wal = layout.folder.join(WAL);
        make_folder(&wal, account)?;
        for segment in &self.wal {
            copy_segment(segment, &wal, account)?;
        }
        let put = |name: &str, text: &str| {
            let path = wal.join(name);
            tls::write(&path, text.as_bytes(), 0o600)?;
            account.own(&path)?;
            Ok::<_, Error>(path)
        };
        let (config, doors) = (put("postgresql.conf", "")?, put("pg_hba.conf", DOORS)?);
        layout.recover(self, account)?;
        Ok(Recovering {
            wal,
            until: self.until.clone(),
            config,
            doors,
        })
    }

    /// Fills the cluster's folder.
    pub(crate) fn fill(&self, cluster: &Path, account: &Account) -> Result<(), Error> {
        copy_tree(&self.base, cluster, account)?;
        let signal = cluster.join("recovery.signal");
        tls::write(&signal, b"", 0o600)?;
        account.own(&signal)
    }
}

impl Recovering {
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let wal = self.wal.display();
        // The last segment is still being filled; a whole one of the same name wins.
        let command = format!("cp \"{wal}/%f\" \"%p\" 2>/dev/null || cp \"{wal}/%f.partial\" \"%p\" 2>/dev/null");
        let mut settings = vec![
            ("config_file", self.config.display().to_string()),
            ("hba_file", self.doors.display().to_string()),
            ("restore_command", command),
            ("recovery_target_action", "promote".to_owned()),
            ("recovery_target_timeline", "latest".to_owned()),
            // Nobody reads while it recovers, so it need not have as many connections as its origin.
            ("hot_standby", "off".to_owned()),
        ];
        if let RecoverUntil::Time(time) = &self.until {
            settings.push(("recovery_target_time", time.clone()));
            settings.push(("recovery_target_inclusive", "on".to_owned()));
        }
        settings
    }
}

/// The folder of the programs of this major version of PostgreSQL: `pg_basebackup`, `pg_receivewal`,
/// `pg_verifybackup`, `pg_waldump` and the rest.
///
/// # Errors
/// [`Error::NoPostgres`].
pub fn programs(major: u32) -> Result<PathBuf, Error> {
    Binaries::find(None, Some(major)).map(|found| found.folder().to_owned())
}

fn make_folder(folder: &Path, account: &Account) -> Result<(), Error> {
    std::fs::create_dir(folder).map_err(Error::io("create the folder", folder))?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(Error::io("protect", folder))?;
    account.own(folder)
}

fn copy_file(from: &Path, to: &Path, account: &Account) -> Result<(), Error> {
    std::fs::copy(from, to).map_err(Error::io("copy", from))?;
    std::fs::set_permissions(to, Permissions::from_mode(0o600)).map_err(Error::io("protect", to))?;
    account.own(to)
}

/// The last one may lose its `.partial` while we look: it has become whole.
fn copy_segment(segment: &Path, into: &Path, account: &Account) -> Result<(), Error> {
    let whole = segment.with_extension("");
    let from = if segment.exists() { segment } else { &whole };
    copy_file(from, &into.join(from.file_name().unwrap_or_default()), account)
}

fn copy_tree(from: &Path, to: &Path, account: &Account) -> Result<(), Error> {
    for entry in std::fs::read_dir(from).map_err(Error::io("read the folder", from))? {
        let entry = entry.map_err(Error::io("read the folder", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io("read", &source))?;
        if kind.is_dir() {
            make_folder(&target, account)?;
            copy_tree(&source, &target, account)?;
        } else {
            copy_file(&source, &target, account)?;
        }
    }
    Ok(())
}
