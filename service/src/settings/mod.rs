//! Settings: one typed structure from `comanda.toml`, the environment and flags.
//!
//! Later sources win: built-in defaults, then the file, then `COMANDA_<SECTION>__<KEY>`, then
//! flags. An unknown key is an error wherever it stands. Secrets may come from files of their own
//! (`*_file`), and nothing here ever prints one. `comanda.example.toml` documents every key.

mod auth;
mod backup;
mod check;
mod databases;
mod kafka;
mod load;
mod relay;
mod secret;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use auth::key_set_url;
pub use auth::{AuthSettings, KeyAlgorithm, KeySettings, SigningSettings};
pub use backup::BackupSettings;
pub use databases::{DatabaseSettings, EventStoreSettings, ReadStoreSettings, ReplicaSettings, ShardSettings};
pub use kafka::{KafkaSettings, SaslMechanism, SecurityProtocol, TopicSettings};
pub(crate) use load::read_secret_file;
pub use load::{DEFAULT_FILE, Loader, SettingsError};
pub use relay::{Compression, RelaySettings};
pub use secret::{DatabaseUrl, Secret};

/// Everything a process can be told.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub http: HttpSettings,
    pub auth: AuthSettings,
    pub control: DatabaseSettings,
    pub event_store: EventStoreSettings,
    /// None means the one that `comanda up` runs on its local server.
    pub read_stores: Vec<ReadStoreSettings>,
    pub kafka: KafkaSettings,
    pub relay: RelaySettings,
    pub command: CommandSettings,
    pub projector: ProjectorSettings,
    pub query: QuerySettings,
    pub backup: BackupSettings,
    pub log: LogSettings,
}

/// Serving HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address to listen on.
    pub host: String,
    pub port: u16,
    /// Largest accepted request body; beyond it 413.
    pub max_body_bytes: usize,
    /// Largest request head (request line and headers); beyond it 431.
    pub max_header_bytes: usize,
    /// Time a client has to send a request head; also how long an idle connection is kept.
    pub header_read_timeout_ms: u64,
    /// Time until a request is answered 503 `timeout`.
    pub request_timeout_ms: u64,
    /// Requests slower than this are logged as warnings.
    pub slow_request_ms: u64,
    /// Requests being worked on at once; beyond it 503 `overloaded`.
    pub max_in_flight: usize,
    /// Open connections; beyond it new ones wait to be accepted.
    pub max_connections: usize,
    /// After the stop is asked for: time in which requests are still accepted and their
    /// connections closed after the answer, so that load balancers and clients go elsewhere.
    pub drain_notice_ms: u64,
    /// After the stop is asked for: time until what is still open is cut.
    pub shutdown_deadline_ms: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            max_body_bytes: 1024 * 1024,
            max_header_bytes: 16 * 1024,
            header_read_timeout_ms: 30_000,
            request_timeout_ms: 10_000,
            slow_request_ms: 1_000,
            max_in_flight: 512,
            max_connections: 8_192,
            drain_notice_ms: 250,
            shutdown_deadline_ms: 20_000,
        }
    }
}

impl HttpSettings {
    pub fn header_read_timeout(&self) -> Duration {
        Duration::from_millis(self.header_read_timeout_ms)
    }

    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub fn slow_request(&self) -> Duration {
        Duration::from_millis(self.slow_request_ms)
    }

    pub fn drain_notice(&self) -> Duration {
        Duration::from_millis(self.drain_notice_ms)
    }

    pub fn shutdown_deadline(&self) -> Duration {
        Duration::from_millis(self.shutdown_deadline_ms)
    }
}

/// The command API.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandSettings {
    /// How often a command is decided again after another writer changed its stream first.
    pub conflict_retries: u32,
    /// A catalogue that was not confirmed for this long is read from the log instead.
    pub catalogue_max_age_ms: u64,
    /// Products and establishments kept in memory.
    pub catalogue_entries: usize,
    /// Events that one page of `GET /v1/events` holds at most.
    pub events_page_max: usize,
    /// Streams of `GET /v1/events` open at once; beyond it 503.
    pub event_streams_max: usize,
    /// Of these, one tenant's at most; beyond it 429.
    pub event_streams_per_tenant_max: usize,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            conflict_retries: 5,
            catalogue_max_age_ms: 1_000,
            catalogue_entries: 100_000,
            events_page_max: 1_000,
            event_streams_max: 512,
            event_streams_per_tenant_max: 64,
        }
    }
}

/// The projector.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectorSettings {
    /// Where events come from.
    pub feed: FeedKind,
    /// The read store that this process writes, by its name in `read_stores`.
    pub read_store: String,
    /// Events folded and written in one transaction, at most.
    pub batch_max: usize,
    /// How often checkpoints are compared with the slots' heads, to find what a feed lost.
    pub reconcile_interval_ms: u64,
    /// Pause before a failed batch is tried again; doubles up to `retry_max_ms`.
    pub retry_min_ms: u64,
    pub retry_max_ms: u64,
    /// From Kafka: records fetched ahead of the batch being written, at most, in kilobytes.
    pub kafka_queue_kb: u32,
    /// From Kafka: a projector not heard of for this long loses its partitions to the others.
    pub session_timeout_ms: u32,
}

/// Where a projector's events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedKind {
    /// The shards' own tails. One projector does it all; a second would do it again.
    Shards,
    /// The topic; any number of projectors share its partitions.
    Kafka,
}

impl Default for ProjectorSettings {
    fn default() -> Self {
        Self {
            feed: FeedKind::Shards,
            read_store: databases::main_store(),
            kafka_queue_kb: 16_384,
            session_timeout_ms: 6_000,
            batch_max: 500,
            reconcile_interval_ms: 5_000,
            retry_min_ms: 100,
            retry_max_ms: 5_000,
        }
    }
}

/// The query API.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuerySettings {
    /// Nesting of a GraphQL document, at most.
    pub max_depth: usize,
    /// Estimated cost of a GraphQL document, at most.
    pub max_complexity: usize,
    /// Fields at the root of a document, at most.
    pub max_root_fields: usize,
    /// Aliases in a document, at most.
    pub max_aliases: usize,
    /// Length of a page where the query does not say.
    pub page_size: usize,
    /// Length of a page, at most.
    pub page_size_max: usize,
    /// How long a query that carries a position waits for the read store to reach it.
    pub position_wait_ms: u64,
    /// How often checkpoints are looked up while waiting.
    pub position_poll_ms: u64,
    /// How often each read store and standby is asked how far it is.
    pub replica_check_ms: u64,
    /// Events behind the furthest, at most, for a store or standby to count as fresh. The others
    /// are asked only where no fresh one answers.
    pub replica_fresh_lag: u64,
    /// Failures in a row after which a store or standby is left alone for `breaker_open_ms`.
    pub breaker_failures: u32,
    pub breaker_open_ms: u64,
    /// Whether the GraphiQL page is served.
    pub graphiql: bool,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            max_depth: 12,
            max_complexity: 5_000,
            max_root_fields: 20,
            max_aliases: 50,
            page_size: 20,
            page_size_max: 100,
            position_wait_ms: 2_000,
            position_poll_ms: 10,
            replica_check_ms: 500,
            replica_fresh_lag: 1_000,
            breaker_failures: 3,
            breaker_open_ms: 1_000,
            graphiql: true,
        }
    }
}

/// How logs are written (to standard error).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Which lines: a level, or levels per module (`info,event_store=debug`).
    pub filter: String,
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            // PostgreSQL's notices ("exists already, skipping") say nothing new.
            filter: "info,sqlx::postgres::notice=warn".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// The effective settings, one `section.key = value` per line, without secrets.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        let mut first = true;
        for (section, keys) in value.as_object().into_iter().flatten() {
            let lines: Vec<String> = match keys {
                Value::Object(keys) => keys
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| format!("{section}.{key} = {value}"))
                    .collect(),
                list => vec![format!("{section} = {list}")],
            };
            for line in lines {
                let newline = if first { "" } else { "\n" };
                write!(f, "{newline}{line}")?;
                first = false;
            }
        }
        Ok(())
    }
}
