//! The parts that `/health` shows.

use event_store::{EventStore, ShardHealth};
use local_postgres::{Server, State};
use projector::Progress;
use query_api::ReadStores;
use service::health::{Health, Part};

/// The local PostgreSQL.
pub(super) fn watch_server(health: &Health, server: &Server) {
    let state = server.state();
    health.register("postgresql", move || {
        let part = match &*state.borrow() {
            State::Serving { .. } => Part::ok(),
            // The causes name files of this machine; they are in the log.
            State::Down { .. } => Part::down(
                "the local PostgreSQL died and is being started again",
                "none needed if it is back in a moment; else see the log of this process",
            ),
            State::Stopped => Part::down("the local PostgreSQL has stopped", "start the process again"),
        };
        std::future::ready(part)
    });
}

/// Log, read store and projector.
pub(super) fn watch(health: &Health, store: &EventStore, stores: &ReadStores, progress: &Progress) {
    let store = store.clone();
    health.register("event_store", move || {
        let store = store.clone();
        async move { log_part(&store.health().await) }
    });
    let stores = stores.clone();
    health.register("read_store", move || {
        let stores = stores.clone();
        async move {
            read_part(
                stores
                    .health()
                    .await
                    .into_iter()
                    .filter(|store| store.fault.is_some())
                    .count(),
            )
        }
    });
    let progress = progress.clone();
    health.register("projector", move || std::future::ready(progress.health()));
}

/// The log is down when it takes no appends anywhere: then nothing can be ordered.
fn log_part(shards: &[ShardHealth]) -> Part {
    let named = |test: &dyn Fn(&ShardHealth) -> bool| {
        let shards: Vec<String> = shards
            .iter()
            .filter(|shard| test(shard))
            .map(|shard| shard.shard.to_string())
            .collect();
        shards.join(", ")
    };
    if !shards.iter().any(|shard| shard.reachable && shard.accepting) {
        return Part::down(
            "no shard takes events",
            "check the shards' databases; their tenants are answered 503",
        );
    }
    let away = named(&|shard| !shard.reachable);
    if !away.is_empty() {
        return Part::degraded(
            format!("unreachable shards: {away}"),
            "check their databases; their tenants are answered 503",
        );
    }
    let refusing = named(&|shard| !shard.accepting);
    if !refusing.is_empty() {
        return Part::degraded(
            format!("shards that were restored or promoted and not yet compared: {refusing}"),
            "compare them with the other shards; their tenants are answered 503 until then",
        );
    }
    let fragile = named(&|shard| !shard.durable);
    if !fragile.is_empty() {
        return Part::degraded(
            format!("shards that may lose acknowledged events in a crash: {fragile}"),
            "turn fsync and synchronous_commit on in their servers",
        );
    }
    Part::ok().with_detail(format!("{} shards", shards.len()))
}

/// Orders are taken while the read store is away, so the process as a whole still works.
fn read_part(faulty: usize) -> Part {
    if faulty == 0 {
        return Part::ok();
    }
    Part::degraded(
        "the read store does not answer",
        "check its database; queries are answered 503 until it is back",
    )
}

#[cfg(test)]
mod tests {
    use event_store::ShardId;
    use service::health::Status;

    use super::*;

    fn shard(id: i16, reachable: bool, accepting: bool, durable: bool) -> ShardHealth {
        ShardHealth {
            shard: ShardId(id),
            reachable,
            accepting,
            durable,
            queue_depth: 0,
        }
    }

    #[test]
    fn given_some_shards_away_then_the_log_is_degraded_and_they_are_named() {
        let part = log_part(&[shard(0, true, true, true), shard(1, false, false, false)]);
        assert_eq!(part.status, Status::Degraded);
        assert_eq!(part.detail.as_deref(), Some("unreachable shards: 1"));
    }

    #[test]
    fn given_no_shard_that_takes_events_then_the_log_is_down() {
        assert_eq!(log_part(&[shard(0, true, false, true)]).status, Status::Down);
        assert_eq!(log_part(&[]).status, Status::Down);
    }

    #[test]
    fn given_a_server_that_may_lose_commits_then_it_is_told() {
        assert_eq!(log_part(&[shard(0, true, true, false)]).status, Status::Degraded);
        assert_eq!(log_part(&[shard(0, true, true, true)]).status, Status::Ok);
    }
}
