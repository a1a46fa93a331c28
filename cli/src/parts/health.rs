//! What `/health` shows of each part.

use event_store::{EventStore, ShardHealth};
use local_postgres::{Server, State};
use projector::Progress;
use query_api::{ReadStores, StoreHealth};
use relay::ShardStatus;
use service::health::{Health, Part};

/// The local PostgreSQL.
pub(crate) fn watch_server(health: &Health, server: &Server) {
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

/// The shards.
pub(super) fn watch_log(health: &Health, store: &EventStore) {
    let store = store.clone();
    health.register("event_store", move || {
        let store = store.clone();
        async move { log_part(&store.health().await) }
    });
}

/// The read stores and their standbys.
pub(super) fn watch_read_stores(health: &Health, stores: &ReadStores) {
    let stores = stores.clone();
    health.register("read_store", move || {
        let stores = stores.clone();
        async move { read_part(&stores.health().await) }
    });
}

/// What is kept up with the log.
pub(super) fn watch_projector(health: &Health, progress: &Progress) {
    let progress = progress.clone();
    health.register("projector", move || std::future::ready(progress.health()));
}

/// What is published.
pub(super) fn watch_relay(health: &Health, status: impl Fn() -> Vec<ShardStatus> + Send + Sync + 'static) {
    health.register("relay", move || std::future::ready(relay_part(&status())));
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

/// Orders are taken while the read stores are away, so the process as a whole still works.
fn read_part(endpoints: &[StoreHealth]) -> Part {
    let faulty: Vec<&str> = endpoints
        .iter()
        .filter(|endpoint| endpoint.fault.is_some())
        .map(|endpoint| endpoint.name.as_str())
        .collect();
    if faulty.is_empty() {
        let lag = endpoints.iter().filter_map(|endpoint| endpoint.lag_events).max();
        let lag = lag.map_or_else(String::new, |events| {
            format!(", at most {events} events behind the furthest")
        });
        return Part::ok().with_detail(format!("{} endpoints{lag}", endpoints.len()));
    }
    let remedy = if faulty.len() == endpoints.len() {
        "check its database; queries are answered 503 until one is back"
    } else {
        "check its database; queries are answered from the others"
    };
    Part::degraded(format!("does not answer: {}", faulty.join(", ")), remedy)
}

/// Kafka away is no reason to send nobody here or to restart: commands never wait for it.
fn relay_part(shards: &[ShardStatus]) -> Part {
    let held = shards.iter().filter(|shard| shard.held);
    let troubled: Vec<String> = held
        .clone()
        .filter(|shard| shard.trouble.is_some())
        .map(|shard| shard.shard.to_string())
        .collect();
    let detail = format!("publishes {} of {} shards", held.count(), shards.len());
    if troubled.is_empty() {
        return Part::ok().with_detail(detail);
    }
    Part::degraded(
        format!("{detail}; cannot publish now: {}", troubled.join(", ")),
        "check Kafka and the log of this process; it goes on by itself, and nothing is lost meanwhile",
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
    fn given_a_standby_away_then_the_others_still_answer_and_it_is_named() {
        let endpoint = |name: &str, fault: Option<&str>| StoreHealth {
            name: name.to_owned(),
            fault: fault.map(str::to_owned),
            lag_events: Some(3),
            breaker_open: false,
        };
        let part = read_part(&[endpoint("main", None), endpoint("main/one", Some("gone"))]);
        assert_eq!(part.status, Status::Degraded);
        assert_eq!(part.detail.as_deref(), Some("does not answer: main/one"));
        assert_eq!(read_part(&[endpoint("main", None)]).status, Status::Ok);
    }

    #[test]
    fn given_kafka_away_then_the_relay_is_degraded_and_not_down() {
        let shard = |id, trouble: Option<&str>| ShardStatus {
            shard: ShardId(id),
            held: true,
            published: event_store::Position(0),
            head: event_store::Position(0),
            lag_ms: 0.0,
            trouble: trouble.map(str::to_owned),
        };
        assert_eq!(relay_part(&[shard(0, None)]).status, Status::Ok);
        let part = relay_part(&[shard(0, None), shard(1, Some("no broker"))]);
        assert_eq!(part.status, Status::Degraded);
        assert!(part.detail.unwrap().ends_with("cannot publish now: 1"));
    }

    #[test]
    fn given_a_server_that_may_lose_commits_then_it_is_told() {
        assert_eq!(log_part(&[shard(0, true, true, false)]).status, Status::Degraded);
        assert_eq!(log_part(&[shard(0, true, true, true)]).status, Status::Ok);
    }
}
