use std::path::{Path, PathBuf};

/// Why a backup cannot be taken, checked or restored. `Display` says what is wrong, [`Error::remedy`]
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {database}")]
    Connect { database: String, source: sqlx::Error },
    #[error("{database} cannot be read")]
    Read { database: String, source: sqlx::Error },
    #[error("the URL of {database} cannot be used")]
    Url { database: String },
    #[error("{server} has no room for another replication slot, or the role may not replicate")]
    Slot { server: String, source: sqlx::Error },
    #[error("{server} gave up the replication slot of its archive, which ends there")]
    SlotLost { server: String },
    #[error("{server} has tablespaces, which are not backed up")]
    Tablespaces { server: String },
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not what this program writes there", path.display())]
    NotOurs { path: PathBuf, source: serde_json::Error },
    #[error("{program} failed: {said}")]
    Program { program: String, said: String },
    #[error("{} is written by another process", folder.display())]
    InUse { folder: PathBuf },
    #[error("there is no backup in {}", folder.display())]
    NoBackup { folder: PathBuf },
    #[error("no backup in {} had ended by {time}", folder.display())]
    TooEarly { folder: PathBuf, time: String },
    #[error("{time:?} is not a time with its zone, such as 2026-11-24T12:30:00Z")]
    NotATime { time: String },
    #[error("{server} was not archived when backup {backup} was taken: only its end can be restored")]
    NotArchived { server: String, backup: String },
    #[error("the archive of {server} lacks {segment}")]
    Gap { server: String, segment: String },
    #[error(transparent)]
    Postgres(#[from] local_postgres::Error),
}

impl Error {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Connect { .. } | Self::Read { .. } => "start the database, or correct its URL".into(),
            Self::Url { .. } => "write it as postgres://user:password@host:port/database".into(),
            Self::Slot { .. } => {
                "raise max_replication_slots and max_wal_senders, and give the role REPLICATION; see docs/backup.md"
                    .into()
            }
            Self::SlotLost { .. } => "another archive begins; take a base backup with `comanda backup --to DIR`".into(),
            Self::Tablespaces { .. } => "move everything into the default tablespace".into(),
            Self::Io { source, path, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => "free some space; nothing that was archived is lost".into(),
                _ => format!("check {} and the rights to it", path.display()),
            },
            Self::NotOurs { .. } => "name a folder that holds backups, or a new one".into(),
            Self::Program { .. } => "mend what it names, then try again".into(),
            Self::InUse { .. } => "one archive is written by one process: stop the other one, or leave it to it".into(),
            Self::NoBackup { .. } => "take one with `comanda backup --to DIR`".into(),
            Self::TooEarly { .. } => "choose a later time; `comanda backup list DIR` shows from when on".into(),
            Self::NotATime { .. } => "write it as RFC 3339 has it".into(),
            Self::NotArchived { .. } => "restore with --latest, or choose a backup that was archived".into(),
            Self::Gap { .. } => "restore to an earlier time, before what is missing, or from a later backup".into(),
            Self::Postgres(error) => error.remedy(),
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
