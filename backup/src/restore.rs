//! Restoring a server as it was at a time.
//!
//! One server is restored to exactly one moment: every commit acknowledged before it, none begun
//! after it. Several are each restored to the same time by their own clocks, which is not one moment
//! of them all. It need not be: no transaction spans two of them, slots are logs of their own, and
//! read models compare their checkpoints with the logs. Slots that were moved just then are settled
//! by comparing ownership when the shards are opened again.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use local_postgres::{Config, RecoverUntil, Recovery, Server};

use crate::check::behind;
use crate::error::Error;
use crate::folder::Folder;
use crate::manifest::{Manifest, ServerRecord};

/// Up to when to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All that was archived.
    Latest,
    /// Every commit acknowledged before it.
    Time(DateTime<Utc>),
}

/// Replaying the log takes as long as it takes.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The backup to begin with: the last one that had ended by then.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::TooEarly`].
pub fn choose(folder: &Folder, until: Until) -> Result<Manifest, Error> {
    let mut manifests = folder.manifests()?;
    if manifests.is_empty() {
        return Err(Error::NoBackup {
            folder: folder.path().to_owned(),
        });
    }
    if let Until::Time(time) = until {
        manifests.retain(|manifest| manifest.ended_at().is_some_and(|ended| ended <= time));
    }
    manifests.pop().ok_or_else(|| Error::TooEarly {
        folder: folder.path().to_owned(),
        time: time_text(until),
    })
}

fn time_text(until: Until) -> String {
    match until {
        Until::Latest => "the end".to_owned(),
        Until::Time(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
    }
}

/// Recovers one server of a backup into a new data folder and returns it once it is open.
///
/// # Errors
/// [`Error`]. What was made of `data` stays, for a look at the server's log.
pub async fn recover(
    folder: &Folder,
    manifest: &Manifest,
    server: &ServerRecord,
    until: Until,
    data: &Path,
) -> Result<Server, Error> {
    let mut wal = Vec::new();
    match (&server.archive, until) {
        (Some(archive), _) => {
            let folder = folder.wal(archive);
            wal.extend(behind(&folder, server)?.into_iter().map(|segment| segment.path));
            wal.extend(histories(&folder)?);
        }
        (None, Until::Latest) => {}
        (None, Until::Time(_)) => {
            return Err(Error::NotArchived {
                server: server.server.clone(),
                backup: manifest.id.clone(),
            });
        }
    }
    let recovery = Recovery {
        base: folder.base(&manifest.id, &server.server),
        wal,
        until: match until {
            Until::Latest => RecoverUntil::EndOfArchive,
            // PostgreSQL does not know the name of a zone, not even `Z`, when it reads this.
            Until::Time(time) => RecoverUntil::Time(time.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()),
        },
        password: folder.key(&manifest.id, "password").unwrap_or_default(),
    };
    let config = Config {
        start_timeout: PATIENCE,
        ..Config::new(data)
    };
    Ok(Server::recover(config, recovery).await?)
}

/// Where timelines branched off, of a server that had been restored before.
fn histories(wal: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let entries = std::fs::read_dir(wal).map_err(Error::io("read the folder", wal))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|it| it == "history"))
        .collect())
}
