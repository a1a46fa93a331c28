//! The servers behind a platform's databases, of which several may share one.

use sqlx::{Connection, PgConnection};
use url::Url;

use crate::error::Error;
use crate::manifest::DatabaseKind;

/// A database of the platform. The URL carries a password, which `Debug` leaves out.
#[derive(Clone)]
pub struct DatabaseAt {
    /// As the platform calls it.
    pub name: String,
    pub kind: DatabaseKind,
    pub url: String,
}

impl std::fmt::Debug for DatabaseAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseAt")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A running server and the platform's databases on it.
#[derive(Clone)]
pub struct ServerAt {
    pub system_identifier: i64,
    pub timeline: i64,
    pub postgres_major: u32,
    pub databases: Vec<DatabaseAt>,
}

impl std::fmt::Debug for ServerAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerAt")
            .field("system_identifier", &self.system_identifier)
            .finish_non_exhaustive()
    }
}

/// Of one running server: another that was restored from it has the same identifier.
type Instance = (i64, i64, String);

/// The servers of these databases, in the order in which they are first named.
///
/// # Errors
/// [`Error::Connect`], [`Error::Read`].
pub async fn servers(databases: &[DatabaseAt]) -> Result<Vec<ServerAt>, Error> {
    let mut found: Vec<(Instance, ServerAt)> = Vec::new();
    for database in databases {
        let mut connection = connect(database).await?;
        let (identifier, timeline, started, version): (i64, i64, String, i32) = sqlx::query_as(
            "SELECT system_identifier, \
                    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint, \
                    pg_postmaster_start_time()::text, current_setting('server_version_num')::int \
               FROM pg_control_system()",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(read(&database.name))?;
        let instance = (identifier, timeline, started);
        match found.iter_mut().find(|(known, _)| *known == instance) {
            Some((_, server)) => server.databases.push(database.clone()),
            None => found.push((
                instance,
                ServerAt {
                    system_identifier: identifier,
                    timeline,
                    postgres_major: u32::try_from(version / 10_000).unwrap_or_default(),
                    databases: vec![database.clone()],
                },
            )),
        }
    }
    Ok(found.into_iter().map(|(_, server)| server).collect())
}

impl ServerAt {
    /// For people: the databases that it holds.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.databases.iter().map(|database| database.name.as_str()).collect();
        format!("the server of {}", names.join(", "))
    }

    /// A connection to one of its databases.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Error> {
        match self.databases.first() {
            Some(database) => connect(database).await,
            None => Err(Error::Url {
                database: "a server without databases".to_owned(),
            }),
        }
    }

    /// How PostgreSQL's programs reach it: a connection string without a password, which every user
    /// of the machine could read on a command line, and the password.
    pub(crate) fn conninfo(&self) -> Result<(String, Option<String>), Error> {
        let database = self.databases.first();
        let name = || database.map_or_else(String::new, |database| database.name.clone());
        let bad = || Error::Url { database: name() };
        let mut url = Url::parse(&database.ok_or_else(bad)?.url).map_err(|_| bad())?;
        let password = url.password().map(percent_decoded);
        url.set_password(None).map_err(|()| bad())?;
        Ok((url.to_string(), password))
    }
}

/// libpq reads `%41` in a URL; `PGPASSWORD` is taken as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) async fn connect(database: &DatabaseAt) -> Result<PgConnection, Error> {
    let failed = |source| Error::Connect {
        database: database.name.clone(),
        source,
    };
    PgConnection::connect(&database.url).await.map_err(failed)
}

pub(crate) fn read(database: &str) -> impl FnOnce(sqlx::Error) -> Error {
    let database = database.to_owned();
    move |source| Error::Read { database, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_off_the_command_line() {
        let server = ServerAt {
            system_identifier: 1,
            timeline: 1,
            postgres_major: 15,
            databases: vec![DatabaseAt {
                name: "control".to_owned(),
                kind: DatabaseKind::Control,
                url: "postgres://me:a%40b%zz@host:5433/db?sslmode=disable".to_owned(),
            }],
        };
        let (conninfo, password) = server.conninfo().unwrap();
        assert_eq!(conninfo, "postgres://me@host:5433/db?sslmode=disable");
        assert_eq!(password.as_deref(), Some("a@b%zz"));
    }
}
