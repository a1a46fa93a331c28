//! One server's unbroken log, and the replication slot that keeps it so.
//!
//! A slot does not survive a base backup, a restoration or a promotion, so a server that has the slot
//! of an archive is the one that the archive is of, and has held back all that it still lacks. That is
//! why a restored server never writes into the archive that it was restored from.

use std::fs::File;

use chrono::{DateTime, Utc};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::edge;
use crate::error::Error;
use crate::folder::{Folder, make, read_json, subfolders, write_json};
use crate::server::{ServerAt, read};

/// An archive of a server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The name of its folder.
    pub id: String,
    pub system_identifier: i64,
    pub timeline: i64,
    /// The replication slot that holds back what is not archived yet.
    pub slot: String,
    pub begun_at: DateTime<Utc>,
}

/// A slot as its server has it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Slot {
    pub(crate) active: bool,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub(crate) wal_status: Option<String>,
    /// Log that the server holds back for it, in bytes.
    pub(crate) retained_bytes: i64,
}

impl Archive {
    /// The archive of this server that can go on; none where each has ended.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(folder: &Folder, server: &ServerAt) -> Result<Option<Self>, Error> {
        let mut connection = server.connect().await?;
        Self::find_by(folder, server, &mut connection).await
    }

    async fn find_by(folder: &Folder, server: &ServerAt, connection: &mut PgConnection) -> Result<Option<Self>, Error> {
        for path in subfolders(&folder.archives())?.into_iter().rev() {
            let record = path.join("archive.json");
            if !record.exists() {
                continue;
            }
            let archive: Self = read_json(&record)?;
            let same = archive.system_identifier == server.system_identifier && archive.timeline == server.timeline;
            if same
                && archive
                    .slot(server, connection)
                    .await?
                    .is_some_and(|slot| !slot.is_lost())
            {
                return Ok(Some(archive));
            }
        }
        Ok(None)
    }

    /// The same, begun where there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find_or_begin(folder: &Folder, server: &ServerAt) -> Result<Self, Error> {
        let mut connection = server.connect().await?;
        if let Some(archive) = Self::find_by(folder, server, &mut connection).await? {
            return Ok(archive);
        }
        let token = edge::fresh_id().simple().to_string();
        let archive = Self {
            id: format!("{}-{}-{}", server.system_identifier, server.timeline, &token[..8]),
            system_identifier: server.system_identifier,
            timeline: server.timeline,
            slot: format!("comanda_backup_{}", &token[..8]),
            begun_at: edge::now(),
        };
        make(&folder.wal(&archive.id))?;
        // Written first: a slot that nobody knows of would hold back log for ever.
        write_json(&folder.archives().join(&archive.id).join("archive.json"), &archive)?;
        sqlx::query("SELECT pg_create_physical_replication_slot($1, true)")
            .bind(&archive.slot)
            .execute(&mut connection)
            .await
            .map_err(|source| Error::Slot {
                server: server.name(),
                source,
            })?;
        tracing::info!(archive = archive.id, slot = archive.slot, "an archive begins");
        Ok(archive)
    }

    /// One writer per archive; the kernel drops the lock with the process.
    pub(crate) fn lock(&self, folder: &Folder) -> Result<Flock<File>, Error> {
        let path = folder.archives().join(&self.id).join("lock");
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::InUse {
            folder: folder.wal(&self.id),
        })
    }

    pub(crate) fn is_written(&self, folder: &Folder) -> bool {
        matches!(self.lock(folder), Err(Error::InUse { .. }))
    }

    pub(crate) async fn slot(&self, server: &ServerAt, connection: &mut PgConnection) -> Result<Option<Slot>, Error> {
        sqlx::query_as(
            "SELECT active, wal_status, \
                    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS retained_bytes \
               FROM pg_replication_slots WHERE slot_name = $1",
        )
        .bind(&self.slot)
        .fetch_optional(connection)
        .await
        .map_err(read(&server.name()))
    }

    /// Ends the archive: the server holds back nothing for it from here on. What was archived stays.
    ///
    /// # Errors
    /// [`Error::Read`], also while it is being written.
    pub async fn end(&self, server: &ServerAt) -> Result<(), Error> {
        let mut connection = server.connect().await?;
        sqlx::query("SELECT pg_drop_replication_slot($1)")
            .bind(&self.slot)
            .execute(&mut connection)
            .await
            .map(drop)
            .map_err(read(&server.name()))
    }
}

impl Slot {
    pub(crate) fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost")
    }
}
