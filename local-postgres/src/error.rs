use std::path::{Path, PathBuf};

/// Why the local PostgreSQL cannot be used. `Display` says what is wrong,
/// [`Error::remedy`] what a person can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL {} or newer was found (looked in {looked_in})",
        crate::binaries::OLDEST
    )]
    NoPostgres { looked_in: String },
    #[error("the data in {} was made by PostgreSQL {major}, which is not installed", cluster.display())]
    OtherMajor { cluster: PathBuf, major: u32 },
    #[error("{} is already in use by a running comanda{}", folder.display(), process(*pid))]
    AlreadyRunning { folder: PathBuf, pid: Option<i32> },
    #[error("PostgreSQL runs as the user {account:?}, which cannot reach {}", folder.display())]
    OutOfReach { folder: PathBuf, account: String },
    #[error("the data in {} belongs to the user with id {owner}", folder.display())]
    ForeignData { folder: PathBuf, owner: u32 },
    #[error("the user {account:?} for PostgreSQL could not be created: {reason}")]
    NoAccount { account: String, reason: String },
    #[error("port {port} on 127.0.0.1 is in use by another program")]
    PortInUse { port: u16 },
    #[error("the disk that holds {} is full", folder.display())]
    DiskFull { folder: PathBuf },
    #[error("PostgreSQL may not read or write its files in {}: {detail}", folder.display())]
    Forbidden { folder: PathBuf, detail: String },
    #[error("the password of the database, {}, is missing", path.display())]
    PasswordMissing { path: PathBuf },
    #[error("PostgreSQL could not be set up in {}: {output}", folder.display())]
    InitFailed { folder: PathBuf, output: String },
    #[error("PostgreSQL did not start: {tail}")]
    DidNotStart { log: PathBuf, tail: String },
    #[error("PostgreSQL was not ready after {seconds} s")]
    NotReady { log: PathBuf, seconds: u64 },
    #[error("process {pid}, a PostgreSQL left over on this data, does not end")]
    WillNotEnd { pid: i32 },
    #[error("{name:?} is not a database name: a-z, 0-9 and _, starting with a letter, at most 63")]
    DatabaseName { name: String },
    #[error("{} holds data, and nothing is recovered over it", folder.display())]
    HoldsData { folder: PathBuf },
    #[error("the archived log ends before the time to recover to")]
    EndsBefore { log: PathBuf },
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("database {database:?} could not be made ready")]
    Database { database: String, source: sqlx::Error },
}

fn process(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl Error {
    /// What to do about it, as one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoPostgres { .. } => "run scripts/setup, or install the package `postgresql`".into(),
            Self::OtherMajor { major, .. } => {
                format!("install the package `postgresql-{major}`, or start with another --data folder")
            }
            Self::AlreadyRunning { .. } => "stop that one first, or start with another --data folder".into(),
            Self::OutOfReach { folder, .. } => format!(
                "give --data a folder that every user can pass through, such as {}, or run as an ordinary user",
                crate::folder::fallback(folder).display()
            ),
            Self::ForeignData { folder, owner } => format!(
                "run as that user or as root, start with another --data folder, or hand {} over from user {owner} with chown -R",
                folder.display()
            ),
            Self::NoAccount { account, .. } => {
                format!("create it with `useradd --system {account}`, or run as an ordinary user")
            }
            Self::PortInUse { .. } => {
                "stop that program, choose another port, or configure none to get a free one".into()
            }
            Self::DiskFull { .. } => "free some space; nothing that was acknowledged is lost".into(),
            Self::Forbidden { folder, .. } => {
                format!(
                    "check owner and mode of {} and of the folders above it",
                    folder.display()
                )
            }
            Self::PasswordMissing { .. } => "put the file back from a backup of the data folder".into(),
            Self::InitFailed { .. } => "mend what it names, then start again; nothing was kept of the attempt".into(),
            Self::DidNotStart { log, .. } | Self::NotReady { log, .. } => {
                format!("read the server's own log, {}", log.display())
            }
            Self::WillNotEnd { pid } => format!("end it with `kill -9 {pid}`, then start again"),
            Self::HoldsData { .. } => "recover into a new folder".into(),
            Self::EndsBefore { .. } => {
                "choose an earlier time, or recover to the end of what there is; no commit is known after it".into()
            }
            Self::DatabaseName { .. } => "choose another name".into(),
            Self::Io { source, path, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    format!(
                        "check owner and mode of {}, or start with another --data folder",
                        path.display()
                    )
                }
                std::io::ErrorKind::StorageFull => "free some space".into(),
                _ => "mend what it names, then start again".into(),
            },
            Self::Database { .. } => "read the server's own log, server.log in the data folder".into(),
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull => Self::DiskFull { folder: path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// Reads what PostgreSQL's programs wrote (in English, see
    /// [`crate::account::Account::command`]) for the causes that have a remedy of
    /// their own.
    pub(crate) fn from_output(output: &str, folder: &Path, port: Option<u16>) -> Option<Self> {
        let folder = folder.to_owned();
        if output.contains("No space left on device") {
            return Some(Self::DiskFull { folder });
        }
        if let (Some(port), true) = (port, output.contains("Address already in use")) {
            return Some(Self::PortInUse { port });
        }
        let detail = output.lines().find(|line| line.contains("Permission denied"))?;
        Some(Self::Forbidden {
            folder,
            detail: detail.trim().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Option<Error> {
        Error::from_output(output, Path::new("/data/postgres"), Some(5433))
    }

    #[test]
    fn the_causes_that_postgres_names_are_told_apart() {
        let full = read("FATAL:  could not write lock file \"postmaster.pid\": No space left on device\n");
        assert!(matches!(full, Some(Error::DiskFull { .. })), "{full:?}");
        let taken = read("LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use\nHINT: …\n");
        assert!(matches!(taken, Some(Error::PortInUse { port: 5433 })), "{taken:?}");
        let closed = read("LOG:  starting\nFATAL:  could not open file \"global/pg_control\": Permission denied\n");
        assert!(
            matches!(&closed, Some(Error::Forbidden { detail, .. }) if detail.contains("pg_control")),
            "{closed:?}"
        );
        assert!(read("PANIC:  could not locate a valid checkpoint record").is_none());
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_failures_of_our_own() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(matches!(
            Error::io("write", Path::new("/data"))(full),
            Error::DiskFull { .. }
        ));
    }
}
