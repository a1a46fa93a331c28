//! The schemas of Comanda's databases: one folder of SQL per database, embedded in the binary.
//!
//! Migrations only go forward, each runs in a transaction of its own, and a file that has once
//! run anywhere is never edited: [`check`] and [`migrate`] refuse a database whose history differs
//! from what the binary carries.

mod error;

use sqlx::PgConnection;
use sqlx::migrate::Migrator;

pub use error::{MigrateError, SchemaError};

static CONTROL: Migrator = sqlx::migrate!("./control");
static EVENT_STORE: Migrator = sqlx::migrate!("./event_store");
static READ_STORE: Migrator = sqlx::migrate!("./read_store");

/// A kind of database, and so a folder of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Database {
    /// Which shard was given which slots.
    Control,
    /// One shard of the log.
    EventStore,
    /// Read models.
    ReadStore,
}

impl Database {
    pub const ALL: [Self; 3] = [Self::Control, Self::EventStore, Self::ReadStore];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::EventStore => "event store",
            Self::ReadStore => "read store",
        }
    }

    fn migrator(self) -> &'static Migrator {
        match self {
            Self::Control => &CONTROL,
            Self::EventStore => &EVENT_STORE,
            Self::ReadStore => &READ_STORE,
        }
    }

    /// The schema version that this binary was built for: the number of its last file.
    pub fn version(self) -> i64 {
        self.migrator()
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0)
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub database: Database,
    /// Versions applied just now, in order; empty where the schema was current.
    pub applied: Vec<i64>,
    /// The version that the schema stands at.
    pub version: i64,
}

/// Brings a database to this binary's schema. Runs under an advisory lock, so that processes that
/// start together do not meet; does nothing where the schema is current.
///
/// # Errors
/// [`MigrateError::Schema`] where the database is newer than the binary or its history differs;
/// [`MigrateError::Failed`] where a statement fails. What a failed file did is rolled back.
pub async fn migrate(database: Database, connection: &mut PgConnection) -> Result<Report, MigrateError> {
    let before = match compare(database, &applied(database, connection).await?) {
        Ok(()) => database.version(),
        Err(SchemaError::Older { found, .. }) => found,
        Err(other) => return Err(other.into()),
    };
    database
        .migrator()
        .run_direct(&mut *connection)
        .await
        .map_err(|source| MigrateError::Failed {
            database,
            source: Box::new(source),
        })?;
    let applied = database
        .migrator()
        .iter()
        .map(|migration| migration.version)
        .filter(|version| *version > before);
    let report = Report {
        database,
        applied: applied.collect(),
        version: database.version(),
    };
    tracing::info!(database = %database, applied = report.applied.len(), version = report.version, "schema is current");
    Ok(report)
}

/// Makes sure that a database has exactly the schema that this binary was built for. Every process
/// calls it before it serves.
///
/// # Errors
/// [`SchemaError`], whose text says what to do.
pub async fn check(database: Database, connection: &mut PgConnection) -> Result<(), SchemaError> {
    compare(database, &applied(database, connection).await?)
}

/// One row of the migrator's own table.
type Applied = (i64, Vec<u8>);

async fn applied(database: Database, connection: &mut PgConnection) -> Result<Vec<Applied>, SchemaError> {
    let unreadable = |source| SchemaError::Unreadable { database, source };
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(unreadable)?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(&mut *connection)
        .await
        .map_err(unreadable)
}

fn compare(database: Database, applied: &[Applied]) -> Result<(), SchemaError> {
    let known = database.version();
    let found = applied.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(SchemaError::Newer { database, found, known });
    }
    for (version, checksum) in applied {
        let same = database
            .migrator()
            .iter()
            .any(|file| file.version == *version && *file.checksum == **checksum);
        if !same {
            return Err(SchemaError::Changed {
                database,
                version: *version,
            });
        }
    }
    // A version below the last that never ran would be a file slipped in later.
    let missing = database
        .migrator()
        .iter()
        .find(|file| !applied.iter().any(|(version, _)| *version == file.version));
    match missing {
        None => Ok(()),
        Some(file) if file.version < found => Err(SchemaError::Changed {
            database,
            version: file.version,
        }),
        Some(_) => Err(SchemaError::Older { database, found, known }),
    }
}
