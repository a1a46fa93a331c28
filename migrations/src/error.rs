//! Why a schema was refused, and what to do about it.

use crate::Database;

/// The schema is not the one that this binary was built for.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "the {database} database has schema version {found}, this binary needs {known}: run `comanda migrate` and \
         start again"
    )]
    Older { database: Database, found: i64, known: i64 },
    #[error(
        "the {database} database has schema version {found}, this binary knows only up to {known}: start the newer \
         binary that migrated it"
    )]
    Newer { database: Database, found: i64, known: i64 },
    #[error(
        "version {version} of the {database} schema is not what this binary carries: the database was migrated by a \
         different build; start that build, or restore a backup"
    )]
    Changed { database: Database, version: i64 },
    #[error("the {database} database's schema version cannot be read")]
    Unreadable {
        database: Database,
        #[source]
        source: sqlx::Error,
    },
}

/// Why a database could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("migrating the {database} database failed and was rolled back; it is safe to run again")]
    Failed {
        database: Database,
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
}
