//! Values that parse but cannot work.

use super::{Settings, SettingsError, key_set_url};

pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    at_least_one(settings)?;
    http(settings)?;
    shards(settings)?;
    read_stores(settings)?;
    kafka(settings)?;
    auth(settings)?;
    let query = &settings.query;
    if query.page_size > query.page_size_max {
        return Err(wrong("query.page_size", "must be at most query.page_size_max"));
    }
    if settings.projector.retry_min_ms > settings.projector.retry_max_ms {
        return Err(wrong(
            "projector.retry_min_ms",
            "must be at most projector.retry_max_ms",
        ));
    }
    Ok(())
}

/// Bounds at which nothing could happen at all.
fn at_least_one(settings: &Settings) -> Result<(), SettingsError> {
    let Settings {
        http,
        auth,
        control,
        event_store,
        kafka,
        relay,
        command,
        projector,
        query,
        ..
    } = settings;
    let bounds = [
        ("http.header_read_timeout_ms", http.header_read_timeout_ms),
        ("http.request_timeout_ms", http.request_timeout_ms),
        ("http.max_in_flight", http.max_in_flight as u64),
        ("http.max_connections", http.max_connections as u64),
        ("http.max_body_bytes", http.max_body_bytes as u64),
        ("control.connections", u64::from(control.connections)),
        ("event_store.connections", u64::from(event_store.connections)),
        ("event_store.queue_capacity", event_store.queue_capacity as u64),
        ("event_store.batch_max", event_store.batch_max as u64),
        ("event_store.poll_interval_ms", event_store.poll_interval_ms),
        ("event_store.lock_timeout_ms", event_store.lock_timeout_ms),
        ("event_store.statement_timeout_ms", event_store.statement_timeout_ms),
        ("command.events_page_max", command.events_page_max as u64),
        ("projector.batch_max", projector.batch_max as u64),
        ("projector.reconcile_interval_ms", projector.reconcile_interval_ms),
        ("projector.retry_min_ms", projector.retry_min_ms),
        ("query.max_depth", query.max_depth as u64),
        ("query.max_complexity", query.max_complexity as u64),
        ("query.max_root_fields", query.max_root_fields as u64),
        ("query.page_size", query.page_size as u64),
        ("query.position_poll_ms", query.position_poll_ms),
        ("query.replica_check_ms", query.replica_check_ms),
        ("query.breaker_failures", u64::from(query.breaker_failures)),
        ("event_store.placement_poll_ms", event_store.placement_poll_ms),
        ("auth.jwks_refresh_ms", auth.jwks_refresh_ms),
        ("kafka.topic.partitions", u64::from(kafka.topic.partitions)),
        ("kafka.topic.replication", u64::from(kafka.topic.replication)),
        ("kafka.topic.min_insync", u64::from(kafka.topic.min_insync)),
        ("relay.batch_max", relay.batch_max as u64),
        ("relay.in_flight_max", relay.in_flight_max as u64),
        ("relay.in_flight_max_kb", u64::from(relay.in_flight_max_kb)),
        ("relay.lease_ms", u64::from(relay.lease_ms)),
        ("relay.retry_min_ms", u64::from(relay.retry_min_ms)),
        ("projector.kafka_queue_kb", u64::from(projector.kafka_queue_kb)),
        ("projector.session_timeout_ms", u64::from(projector.session_timeout_ms)),
    ];
    match bounds.iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => Err(wrong(key, "must be at least 1")),
        None => Ok(()),
    }
}

fn http(settings: &Settings) -> Result<(), SettingsError> {
    let http = &settings.http;
    // hyper's read buffer cannot be smaller, and larger heads serve only attackers.
    if !(8_192..=262_144).contains(&http.max_header_bytes) {
        return Err(wrong("http.max_header_bytes", "must be 8192 to 262144"));
    }
    if http.drain_notice_ms >= http.shutdown_deadline_ms {
        return Err(wrong(
            "http.drain_notice_ms",
            "must be less than http.shutdown_deadline_ms",
        ));
    }
    // Semaphores cannot count further; nobody means such numbers.
    if http.max_in_flight > 1_000_000 || http.max_connections > 1_000_000 {
        return Err(wrong(
            "http",
            "max_in_flight and max_connections must be at most 1000000",
        ));
    }
    Ok(())
}

fn auth(settings: &Settings) -> Result<(), SettingsError> {
    let auth = &settings.auth;
    if auth.leeway_seconds > 300 {
        return Err(wrong("auth.leeway_seconds", "must be at most 300"));
    }
    if let Some(url) = &auth.jwks_url {
        key_set_url(url).map_err(|problem| wrong("auth.jwks_url", problem))?;
    }
    Ok(())
}

fn shards(settings: &Settings) -> Result<(), SettingsError> {
    let mut ids = std::collections::BTreeSet::new();
    for shard in &settings.event_store.shards {
        let setting = format!("event_store.shards[id={}]", shard.id);
        if !ids.insert(shard.id) {
            return Err(wrong(&setting, "two shards have this id"));
        }
        if shard.url.is_empty() {
            return Err(wrong(&setting, "needs url or url_file"));
        }
    }
    Ok(())
}

fn read_stores(settings: &Settings) -> Result<(), SettingsError> {
    let mut names = std::collections::BTreeSet::new();
    for store in &settings.read_stores {
        let setting = format!("read_stores[name={}]", store.name);
        if store.connections == 0 {
            return Err(wrong(&setting, "connections must be at least 1"));
        }
        let replicas = store.replicas.iter().map(|replica| (&replica.name, &replica.url));
        for (name, url) in std::iter::once((&store.name, &store.url)).chain(replicas) {
            if !names.insert(name) {
                return Err(wrong(&setting, &format!("two stores or replicas are named {name}")));
            }
            if url.is_empty() {
                return Err(wrong(&setting, &format!("{name} needs url or url_file")));
            }
        }
    }
    let written = &settings.projector.read_store;
    if !settings.read_stores.is_empty() && !settings.read_stores.iter().any(|store| store.name == *written) {
        return Err(wrong(
            "projector.read_store",
            &format!("no read store is named {written}"),
        ));
    }
    Ok(())
}

fn kafka(settings: &Settings) -> Result<(), SettingsError> {
    let topic = &settings.kafka.topic;
    if topic.min_insync > topic.replication {
        return Err(wrong(
            "kafka.topic.min_insync",
            "must be at most kafka.topic.replication",
        ));
    }
    // Kafka's own limits.
    let legal = |name: char| name.is_ascii_alphanumeric() || matches!(name, '.' | '_' | '-');
    if topic.name.is_empty() || topic.name.len() > 249 || !topic.name.chars().all(legal) {
        return Err(wrong("kafka.topic.name", "must be 1 to 249 of A-Z a-z 0-9 . _ -"));
    }
    if settings.relay.retry_min_ms > settings.relay.retry_max_ms {
        return Err(wrong("relay.retry_min_ms", "must be at most relay.retry_max_ms"));
    }
    Ok(())
}

fn wrong(setting: &str, problem: &str) -> SettingsError {
    SettingsError::Value {
        setting: setting.to_owned(),
        problem: problem.to_owned(),
    }
}
