//! What is measured. The unit stands last in each name.

use domain::Timestamp;
use metrics::{counter, gauge, histogram};
use service::edge;

use crate::error::Error;

/// A record was acknowledged: how long after the log recorded it. The clocks are the database's and
/// ours.
pub(crate) fn published(shard: &str, recorded_at: Timestamp) {
    let age = edge::now().as_datetime() - recorded_at.as_datetime();
    // Never negative, whatever the clocks say.
    let ms = age.num_microseconds().map_or(f64::MAX, |it| it.max(0) as f64 / 1_000.0);
    histogram!("relay_publish_duration_ms", "shard" => shard.to_owned()).record(ms);
}

pub(crate) fn records(shard: &str, count: u64) {
    counter!("relay_records_total", "shard" => shard.to_owned()).increment(count);
}

pub(crate) fn failure(shard: &str, error: &Error) {
    counter!("relay_failures_total", "shard" => shard.to_owned(), "kind" => error.kind()).increment(1);
}

/// Publishing went back because Kafka lost what it had acknowledged.
pub(crate) fn rewind(shard: &str) {
    counter!("relay_rewinds_total", "shard" => shard.to_owned()).increment(1);
}

pub(crate) fn held(shard: &str, held: bool) {
    gauge!("relay_shard_held", "shard" => shard.to_owned()).set(f64::from(u8::from(held)));
    if !held {
        lag(shard, 0, 0.0);
        in_flight(shard, 0);
    }
}

pub(crate) fn lag(shard: &str, events: i64, ms: f64) {
    gauge!("relay_lag_events", "shard" => shard.to_owned()).set(events as f64);
    gauge!("relay_lag_ms", "shard" => shard.to_owned()).set(ms);
}

pub(crate) fn in_flight(shard: &str, records: usize) {
    gauge!("relay_in_flight_records", "shard" => shard.to_owned()).set(records as f64);
}

pub(crate) fn kafka_reachable(reachable: bool) {
    gauge!("relay_kafka_reachable").set(f64::from(u8::from(reachable)));
}

pub(crate) fn describe() {
    metrics::describe_histogram!(
        "relay_publish_duration_ms",
        "From an event's commit to its acknowledgement by Kafka"
    );
    metrics::describe_counter!("relay_records_total", "Records that Kafka acknowledged");
    metrics::describe_counter!(
        "relay_failures_total",
        "Times that publishing a shard stopped, by kind of failure"
    );
    metrics::describe_counter!(
        "relay_rewinds_total",
        "Times that publishing went back because Kafka lost records"
    );
    metrics::describe_gauge!("relay_shard_held", "Whether this relay holds the shard's lease");
    metrics::describe_gauge!(
        "relay_lag_events",
        "Events of the shard that Kafka has not acknowledged"
    );
    metrics::describe_gauge!(
        "relay_lag_ms",
        "Age of the oldest event of the shard that Kafka has not acknowledged"
    );
    metrics::describe_gauge!("relay_in_flight_records", "Records sent and not acknowledged");
    metrics::describe_gauge!("relay_kafka_reachable", "Whether Kafka answered last time");
}
