//! Values that parse but cannot work.

use super::{Settings, SettingsError};

pub(super) fn check(settings: &Settings) -> Result<(), SettingsError> {
    at_least_one(settings)?;
    http(settings)?;
    shards(settings)?;
    if settings.auth.leeway_seconds > 300 {
        return Err(wrong("auth.leeway_seconds", "must be at most 300"));
    }
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
        control,
        event_store,
        read_store,
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
        ("read_store.connections", u64::from(read_store.connections)),
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

fn wrong(setting: &str, problem: &str) -> SettingsError {
    SettingsError::Value {
        setting: setting.to_owned(),
        problem: problem.to_owned(),
    }
}
