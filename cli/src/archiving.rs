//! Archiving the log of the platform's servers, and how health shows it.

use std::path::Path;

use backup::{ArchiveState, DatabaseAt, DatabaseKind, Folder, Receiver, ServerAt};
use service::Shutdown;
use service::health::{Health, Part};
use tokio::sync::watch;

use crate::databases::Databases;
use crate::exit::Failure;

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
