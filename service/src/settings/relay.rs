//! Publishing the log.

use serde::{Deserialize, Serialize};

/// Publishing the log to Kafka.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySettings {
    /// Events read from a shard at once, at most.
    pub batch_max: usize,
    /// Records sent and not yet acknowledged, per shard, at most. Reading stops there.
    pub in_flight_max: usize,
    /// The same in kilobytes.
    pub in_flight_max_kb: u32,
    /// How long a record waits for company, to be sent with it.
    pub linger_ms: u32,
    pub compression: Compression,
    /// A relay that is not heard of for this long loses its shards to the others.
    pub lease_ms: u32,
    /// How often the cursor is moved, at most. Records after it come twice when a relay is killed.
    pub advance_interval_ms: u32,
    /// How often the log is looked at for news while there are some, and while there are none.
    pub busy_poll_ms: u32,
    pub idle_poll_ms: u32,
    /// How often the topic is compared with what was acknowledged.
    pub check_interval_ms: u32,
    /// After this long Kafka's disks have what it acknowledged, even through a power cut of all
    /// brokers: when Kafka is found to have lost records, publishing goes back this far.
    pub settle_ms: u32,
    /// After this long without an acknowledgement, publishing starts again from the cursor.
    pub stall_ms: u32,
    /// Pause before a failed shard is tried again; doubles up to `retry_max_ms`.
    pub retry_min_ms: u32,
    pub retry_max_ms: u32,
    /// How long a relay that is asked to stop waits for acknowledgements.
    pub drain_ms: u32,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            batch_max: 1_000,
            in_flight_max: 10_000,
            in_flight_max_kb: 65_536,
            linger_ms: 5,
            compression: Compression::Zstd,
            lease_ms: 5_000,
            advance_interval_ms: 50,
            busy_poll_ms: 5,
            idle_poll_ms: 50,
            check_interval_ms: 2_000,
            settle_ms: 120_000,
            stall_ms: 30_000,
            retry_min_ms: 100,
            retry_max_ms: 2_000,
            drain_ms: 5_000,
        }
    }
}

/// How batches of records are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Lz4,
    Zstd,
}
