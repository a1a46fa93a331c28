//! What a relay can be told.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Publishing the log to Kafka.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySettings {
    pub kafka: KafkaSettings,
    pub topic: TopicSettings,
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
            kafka: KafkaSettings::default(),
            topic: TopicSettings::default(),
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

impl RelaySettings {
    pub(crate) fn lease(&self) -> Duration {
        ms(self.lease_ms)
    }

    /// Often enough that a few that fail cost no lease.
    pub(crate) fn attend_interval(&self) -> Duration {
        ms((self.lease_ms / 5).max(50))
    }

    pub(crate) fn advance_interval(&self) -> Duration {
        ms(self.advance_interval_ms.max(1))
    }

    pub(crate) fn check_interval(&self) -> Duration {
        ms(self.check_interval_ms.max(100))
    }

    pub(crate) fn settle(&self) -> Duration {
        ms(self.settle_ms)
    }

    pub(crate) fn stall(&self) -> Duration {
        ms(self.stall_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        ms(self.drain_ms)
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// Where Kafka is, and how it is spoken to. Whoever reads the topic needs the same.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port` of some brokers, separated by commas; the others are learnt from these.
    pub bootstrap: String,
    pub security: SecurityProtocol,
    /// PEM: the authorities that sign the brokers' certificates; without it, the system's.
    pub ca_file: Option<PathBuf>,
    pub mechanism: SaslMechanism,
    pub username: Option<String>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap: "127.0.0.1:9092".to_owned(),
            security: SecurityProtocol::Plaintext,
            ca_file: None,
            mechanism: SaslMechanism::ScramSha512,
            username: None,
            password_file: None,
        }
    }
}

/// Encryption and log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither; for networks that nobody else is on.
    Plaintext,
    /// TLS.
    Tls,
    /// TLS, and a name and a password.
    SaslTls,
    /// A name and a password over an open connection. (SCRAM does not show the password.)
    SaslPlaintext,
}

/// How a password is proven. Only ways that do not send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum SaslMechanism {
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// The topic. Made by the first relay that does not find it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicSettings {
    pub name: String,
    /// Part of the contract: a slot's records are in partition `slot % partitions`. A topic with
    /// another number is refused; to change it, publish to a topic of another name.
    pub partitions: u16,
    /// The rest is used when the topic is made; an existing one keeps its own.
    pub replication: u16,
    /// Copies that must have a record before it is acknowledged.
    pub min_insync: u16,
    /// How long records are kept, by the time the log recorded them; -1 is for ever.
    pub retention_ms: i64,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            name: "comanda.events.v1".to_owned(),
            partitions: 64,
            replication: 3,
            min_insync: 2,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_and_defaults_read_back() {
        let default = RelaySettings::default();
        let printed = serde_json::to_value(&default).unwrap();
        assert_eq!(serde_json::from_value::<RelaySettings>(printed).unwrap(), default);
        for text in [
            r#"{"leese_ms": 1}"#,
            r#"{"kafka": {"servers": ""}}"#,
            r#"{"topic": {"partition": 1}}"#,
        ] {
            assert!(serde_json::from_str::<RelaySettings>(text).is_err(), "{text}");
        }
        let kafka = r#"{"security": "sasl_tls", "mechanism": "SCRAM-SHA-256", "username": "relay"}"#;
        assert_eq!(
            serde_json::from_str::<KafkaSettings>(kafka).unwrap().security,
            SecurityProtocol::SaslTls
        );
    }
}
