//! Keeps an eye on what stands in the way of the databases that this process works on.
//!
//! Guarantee: a session that keeps others waiting stands in `/health` and in the log within
//! seconds of the first second that it cost. A database that does not answer is looked at again
//! later: that it is away is told by its own part. Nothing depends on this loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service::Shutdown;
use service::health::{Health, Part};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::blockers::{Blocker, blockers};

const EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(4);

/// Found at the last look, by database.
type Found = Arc<Mutex<BTreeMap<String, Vec<Blocker>>>>;

/// A database by the name that operators know, and its URL.
pub(crate) type Named = (String, String);

/// Watches the databases that `databases` gives at each look, and has health show what is found.
pub(crate) fn watch(health: &Health, shutdown: &Shutdown, databases: impl Fn() -> Vec<Named> + Send + Sync + 'static) {
    let found = Found::default();
    let shown = Arc::clone(&found);
    health.register("sessions", move || std::future::ready(part(&of(&shown))));
    let stop = shutdown.clone();
    shutdown.spawn("sessions", async move {
        let mut connections = BTreeMap::new();
        while !stop.is_triggered() {
            for (name, url) in databases() {
                let kept = connections.remove(&name);
                let Ok(Ok((connection, blockers))) = timeout(PATIENCE, look(kept, &url)).await else {
                    // Away, or in an outage of its own: nothing is known of it.
                    note(&found, &name, vec![]);
                    continue;
                };
                note(&found, &name, blockers);
                connections.insert(name, connection);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}

async fn look(kept: Option<PgConnection>, url: &str) -> Result<(PgConnection, Vec<Blocker>), sqlx::Error> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => PgConnection::connect(url).await?,
    };
    let found = blockers(&mut connection).await?;
    Ok((connection, found))
}

fn of(found: &Found) -> BTreeMap<String, Vec<Blocker>> {
    found.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Logs each session once.
fn note(found: &Found, name: &str, now: Vec<Blocker>) {
    let mut all = found.lock().unwrap_or_else(PoisonError::into_inner);
    let before = all.insert(name.to_owned(), now).unwrap_or_default();
    let known: Vec<i32> = before.iter().map(|blocker| blocker.pid).collect();
    for blocker in all
        .get(name)
        .into_iter()
        .flatten()
        .filter(|it| !known.contains(&it.pid))
    {
        tracing::warn!(database = name, blocker = blocker.detail(), "a session is in the way");
    }
}

/// Statements stay out of it: health is public.
fn part(found: &BTreeMap<String, Vec<Blocker>>) -> Part {
    let named: Vec<String> = found
        .iter()
        .flat_map(|(name, blockers)| {
            blockers
                .iter()
                .map(move |blocker| format!("{name}: {}", blocker.summary()))
        })
        .collect();
    if named.is_empty() {
        return Part::ok();
    }
    Part::degraded(
        named.join("; "),
        "see `comanda doctor` for its statement; have its owner end it, or use pg_terminate_backend",
    )
}

#[cfg(test)]
mod tests {
    use service::health::Status;

    use super::*;

    #[test]
    fn given_a_session_in_the_way_then_health_names_it_without_its_statement() {
        let blocker = Blocker {
            pid: 17,
            application: "psql".to_owned(),
            state: "idle in transaction".to_owned(),
            age_ms: 42_000.0,
            waiting: 3,
            query: "SELECT 'secret'".to_owned(),
        };
        let found = BTreeMap::from([("shard 2".to_owned(), vec![blocker]), ("shard 3".to_owned(), vec![])]);
        let part = part(&found);
        assert_eq!(part.status, Status::Degraded);
        assert_eq!(
            part.detail.as_deref(),
            Some("shard 2: session 17 (idle in transaction, 42 s) keeps 3 sessions waiting")
        );
        assert_eq!(super::part(&BTreeMap::new()).status, Status::Ok);
    }
}
