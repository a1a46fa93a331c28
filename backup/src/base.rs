//! Taking a base backup of every server of the platform.
//!
//! Guarantee: a backup counts once its manifest is written, which is when every server's copy has
//! been checked file by file against PostgreSQL's own manifest. Killed before that, it never
//! happened; its files are removed by `prune`. Servers are copied one after another: each copy is
//! whole in itself, and what binds them to one moment is the archive that goes on from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::archive::Archive;
use crate::edge;
use crate::error::Error;
use crate::folder::{Folder, make, read_json, write_json};
use crate::manifest::{DatabaseKind, DatabaseRecord, Head, Manifest, ServerRecord, ShardRecord};
use crate::programs;
use crate::server::{DatabaseAt, ServerAt, connect, read};

/// What to back up.
#[derive(Debug, Clone, Copy)]
pub struct Taking<'a> {
    pub folder: &'a Folder,
    pub servers: &'a [ServerAt],
    /// Of a platform that `comanda up` runs on a server of its own, the files besides the server that
    /// it needs to start again. None of a platform whose databases are given by URL.
    pub local_keys: Option<&'a [PathBuf]>,
    /// The version of the program, for the manifest.
    pub version: &'a str,
}

/// Takes a backup. `begun` is told the folder that each server is copied to, and its size in bytes.
///
/// # Errors
/// [`Error`]; what was copied by then is removed.
pub async fn take(taking: Taking<'_>, begun: impl Fn(&Path, u64)) -> Result<Manifest, Error> {
    let id = edge::now().format("%Y%m%dT%H%M%S%3fZ").to_string();
    let folder = taking.folder.backups().join(&id);
    make(&folder)?;
    let taken = copy_all(taking, &id, &begun).await;
    let manifest = match taken {
        Ok(servers) => Manifest {
            id,
            comanda_version: taking.version.to_owned(),
            local: taking.local_keys.is_some(),
            servers,
        },
        Err(error) => {
            // The error that is told is the one that matters.
            let _ = std::fs::remove_dir_all(&folder);
            return Err(error);
        }
    };
    taking
        .folder
        .keep_keys(&manifest.id, taking.local_keys.unwrap_or_default())?;
    write_json(&folder.join("manifest.json"), &manifest)?;
    Ok(manifest)
}

async fn copy_all(taking: Taking<'_>, id: &str, begun: &impl Fn(&Path, u64)) -> Result<Vec<ServerRecord>, Error> {
    let mut records = Vec::new();
    for (n, server) in taking.servers.iter().enumerate() {
        let name = format!("server-{}", n + 1);
        let into = taking.folder.base(id, &name);
        let bytes = look(server).await?;
        let archive = Archive::find(taking.folder, server).await?;
        let mut databases = Vec::new();
        for database in &server.databases {
            databases.push(describe(database).await?);
        }
        begun(&into, bytes);
        copy(server, &into).await?;
        let range = range(&into)?;
        records.push(ServerRecord {
            server: name,
            system_identifier: server.system_identifier,
            timeline: range.timeline,
            postgres_major: server.postgres_major,
            archive: archive.map(|archive| archive.id),
            start_lsn: range.start,
            end_lsn: range.end,
            ended_at: clock(server).await?,
            databases,
        });
    }
    Ok(records)
}

/// How large it is, in bytes.
async fn look(server: &ServerAt) -> Result<u64, Error> {
    let mut connection = server.connect().await?;
    let (bytes, tablespaces): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT coalesce(sum(pg_database_size(oid)), 0) FROM pg_database)::bigint, \
                (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(read(&server.name()))?;
    if tablespaces > 0 {
        return Err(Error::Tablespaces { server: server.name() });
    }
    Ok(u64::try_from(bytes).unwrap_or_default())
}

async fn clock(server: &ServerAt) -> Result<DateTime<Utc>, Error> {
    let mut connection = server.connect().await?;
    let now = sqlx::query_scalar("SELECT clock_timestamp()");
    now.fetch_one(&mut connection).await.map_err(read(&server.name()))
}

async fn copy(server: &ServerAt, into: &Path) -> Result<(), Error> {
    let mut copy = programs::client(server, "pg_basebackup")?;
    copy.arg("--pgdata").arg(into);
    copy.args(["--format=plain", "--wal-method=stream", "--checkpoint=fast"]);
    programs::run(copy, "pg_basebackup").await?;
    verify(server.postgres_major, into).await
}

/// Holds every file against the manifest that PostgreSQL wrote, and reads the log that belongs to it.
pub(crate) async fn verify(major: u32, base: &Path) -> Result<(), Error> {
    let mut verify = programs::command(major, "pg_verifybackup")?;
    verify.arg("--quiet").arg(base);
    programs::run(verify, "pg_verifybackup").await.map(drop)
}

struct Range {
    timeline: i64,
    start: String,
    end: String,
}

/// The log that belongs to the backup, as PostgreSQL's manifest has it.
fn range(base: &Path) -> Result<Range, Error> {
    #[derive(Deserialize)]
    struct Written {
        #[serde(rename = "WAL-Ranges")]
        ranges: Vec<Part>,
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "Timeline")]
        timeline: i64,
        #[serde(rename = "Start-LSN")]
        start: String,
        #[serde(rename = "End-LSN")]
        end: String,
    }
    let path = base.join("backup_manifest");
    let written: Written = read_json(&path)?;
    let mut ranges = written.ranges;
    let Some(part) = ranges.pop() else {
        return Err(Error::io("read", &path)(std::io::ErrorKind::InvalidData.into()));
    };
    Ok(Range {
        timeline: part.timeline,
        start: part.start,
        end: part.end,
    })
}

async fn describe(database: &DatabaseAt) -> Result<DatabaseRecord, Error> {
    let mut connection = connect(database).await?;
    let failed = || read(&database.name);
    let (name, schema_version): (String, i64) = sqlx::query_as(
        "SELECT current_database()::text, coalesce(max(version) FILTER (WHERE success), 0) FROM _sqlx_migrations",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed())?;
    let shard = match database.kind {
        DatabaseKind::Shard(_) => Some(shard(&mut connection).await.map_err(failed())?),
        DatabaseKind::Control | DatabaseKind::ReadStore(_) => None,
    };
    Ok(DatabaseRecord {
        name: database.name.clone(),
        database: name,
        kind: database.kind.clone(),
        schema_version,
        shard,
    })
}

async fn shard(connection: &mut sqlx::PgConnection) -> Result<ShardRecord, sqlx::Error> {
    let (position, slots_owned): (i64, i64) =
        sqlx::query_as("SELECT coalesce((SELECT position FROM shard), 0), (SELECT count(*) FROM slots WHERE owned)")
            .fetch_one(&mut *connection)
            .await?;
    let heads: Vec<(i16, i64, i32, bool)> =
        sqlx::query_as("SELECT slot, slot_position, incarnation, owned FROM slots WHERE slot_position > 0")
            .fetch_all(&mut *connection)
            .await?;
    let published: Vec<(String, i64)> = sqlx::query_as("SELECT topic, position FROM relay_cursors")
        .fetch_all(connection)
        .await?;
    let head = |(slot, slot_position, incarnation, owned)| {
        let head = Head {
            slot_position,
            incarnation,
            owned,
        };
        (slot, head)
    };
    Ok(ShardRecord {
        position,
        slots_owned,
        published: published.into_iter().collect::<BTreeMap<_, _>>(),
        heads: heads.into_iter().map(head).collect(),
    })
}
