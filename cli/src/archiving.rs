//! Archiving the log of the platform's servers, and how health shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use backup::{ArchiveState, DatabaseAt, DatabaseKind, Folder, Receiver, ServerAt};
use service::Shutdown;
use service::health::{Health, Part};
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::databases::Databases;
use crate::exit::Failure;

/// How long a server may take to say how its archives are.
const PATIENCE: Duration = Duration::from_secs(4);

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        let remedy = error.remedy();
        Self::failed(error).with_remedy(remedy)
    }
}

/// The platform's databases, as backups know them. Standbys get what their primaries write.
pub(crate) fn databases_at(databases: &Databases) -> Vec<DatabaseAt> {
    let at = |name: String, kind: DatabaseKind, url: &str| DatabaseAt {
        name,
        kind,
        url: url.to_owned(),
    };
    let mut all = vec![at("control".to_owned(), DatabaseKind::Control, databases.control())];
    for (id, url) in databases.shards() {
        all.push(at(format!("shard_{id}"), DatabaseKind::Shard(*id), url));
    }
    for store in databases.read_stores() {
        let kind = DatabaseKind::ReadStore(store.name.clone());
        all.push(at(format!("read_store {}", store.name), kind, store.url.expose()));
    }
    all
}

/// How each server's archive is doing.
pub(crate) type States = Vec<(String, watch::Receiver<ArchiveState>)>;

/// Archives these servers until the stop is asked for.
pub(crate) fn start(folder: &Folder, servers: &[ServerAt], shutdown: &Shutdown) -> States {
    let mut states = States::new();
    for server in servers {
        let (receiver, state) = Receiver::new(folder.clone(), server.clone());
        let stop = shutdown.clone();
        shutdown.spawn(format!("archive of {}", server.name()), async move {
            receiver.run(stop.cancelled()).await;
        });
        states.push((server.name(), state));
    }
    states
}

/// Archives the platform's servers into the folder of the settings, and has health show it.
pub(crate) async fn keep(
    folder: &Path,
    databases: &Databases,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let folder = Folder::create(folder)?;
    let servers = backup::servers(&databases_at(databases)).await?;
    let states = start(&folder, &servers, shutdown);
    health.register("backup", move || std::future::ready(part(&states)));
    Ok(())
}

/// What is wrong, without names of files: health is public.
fn part(states: &States) -> Part {
    for (server, state) in states {
        let trouble = state.borrow().trouble();
        if let Some((detail, remedy)) = trouble {
            return Part::degraded(format!("{server}: {detail}"), remedy);
        }
    }
    let behind: u64 = states.iter().map(|(_, state)| state.borrow().retained_bytes).sum();
    Part::ok().with_detail(format!("{} servers archived, {} MB to go", states.len(), behind >> 20))
}

/// The replication slot of an archive, as its server has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub(crate) struct ArchiveSlot {
    pub(crate) name: String,
    /// Whether it is being written.
    pub(crate) active: bool,
    pub(crate) lost: bool,
    /// Log that the server holds back for it.
    pub(crate) retained_bytes: i64,
}

/// The archives of the platform's servers; of those that answer.
pub(crate) async fn archive_slots(databases: &Databases) -> BTreeSet<ArchiveSlot> {
    let mut slots: BTreeMap<String, ArchiveSlot> = BTreeMap::new();
    for target in databases.targets() {
        let look = async {
            let mut connection = PgConnection::connect(target.url).await?;
            let found = sqlx::query_as::<_, ArchiveSlot>(
                "SELECT slot_name::text AS name, active, wal_status IS NOT DISTINCT FROM 'lost' AS lost, \
                        coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS retained_bytes \
                   FROM pg_replication_slots WHERE slot_name LIKE 'comanda\\_backup\\_%'",
            );
            found.fetch_all(&mut connection).await
        };
        if let Ok(Ok(found)) = timeout(PATIENCE, look).await {
            // Databases of one server each show all of its slots.
            slots.extend(found.into_iter().map(|slot| (slot.name.clone(), slot)));
        }
    }
    slots.into_values().collect()
}
