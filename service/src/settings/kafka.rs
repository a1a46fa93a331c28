//! Kafka: where it is, how it is spoken to, and the topic. Relays and readers share these.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    pub topic: TopicSettings,
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
            topic: TopicSettings::default(),
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
