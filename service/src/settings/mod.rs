//! Settings: one typed structure from `comanda.toml`, the environment and flags.
//!
//! Later sources win: built-in defaults, then the file, then `COMANDA_<SECTION>__<KEY>`, then
//! flags. An unknown key is an error wherever it stands. Secrets may come from files of their own
//! (`*_file`), and nothing here ever prints one. `comanda.example.toml` documents every key.

mod check;
mod load;
mod secret;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use load::read_secret_file;
pub use load::{DEFAULT_FILE, Loader, SettingsError};
pub use secret::{DatabaseUrl, Secret};

/// Everything a process can be told.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub http: HttpSettings,
    pub auth: AuthSettings,
    pub control: DatabaseSettings,
    pub event_store: EventStoreSettings,
    pub read_store: DatabaseSettings,
    pub command: CommandSettings,
    pub projector: ProjectorSettings,
    pub query: QuerySettings,
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

/// Whose tokens are accepted, and how `comanda token` signs.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// The `iss` that a token must carry.
    pub issuer: String,
    /// The `aud` that a token must carry, alone or among others.
    pub audience: String,
    /// Clock difference tolerated on `exp` and `nbf`; at most 300.
    pub leeway_seconds: u64,
    /// Verified tokens remembered until they expire; 0 remembers none.
    pub cached_tokens: usize,
    /// Keys whose signatures are accepted.
    pub keys: Vec<KeySettings>,
    /// The key that `comanda token` signs with. Without it, the first HS256 key signs.
    pub signing: Option<SigningSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuer: "comanda".to_owned(),
            audience: "comanda".to_owned(),
            leeway_seconds: 5,
            cached_tokens: 10_000,
            keys: Vec::new(),
            signing: None,
        }
    }
}

/// A signature algorithm. A key has exactly one, so that no token can choose how it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256, one shared secret; for development.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA PKCS#1 v1.5 with SHA-256, at least 2,048 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A key whose signatures are accepted.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The `kid` of tokens signed with it. A key without one serves tokens without one.
    #[serde(default)]
    pub kid: Option<String>,
    pub algorithm: KeyAlgorithm,
    /// HS256: the secret, at least 32 bytes.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// HS256: a file that holds the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// RS256, EdDSA: a PEM file that holds the public key.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
}

/// A key to sign tokens with.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SigningSettings {
    #[serde(default)]
    pub kid: Option<String>,
    pub algorithm: KeyAlgorithm,
    /// HS256: a file that holds the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// RS256, EdDSA: a PEM file that holds the private key (PKCS#8).
    #[serde(default)]
    pub private_key_file: Option<PathBuf>,
}

/// One PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://user@host:port/database`; empty means the local server that `comanda up` runs.
    pub url: DatabaseUrl,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Connections kept at most.
    pub connections: u32,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::default(),
            url_file: None,
            connections: 10,
        }
    }
}

/// The event store: its shards and the bounds of its queues.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventStoreSettings {
    /// The shards; none means the four that `comanda up` runs on its local server.
    pub shards: Vec<ShardSettings>,
    /// Connections per shard for loading and tailing; appending has one of its own.
    pub connections: u32,
    /// Appends waiting per shard; beyond it 503 `overloaded`.
    pub queue_capacity: usize,
    /// Appends sent to the shard as one batch, at most.
    pub batch_max: usize,
    /// Events kept in memory for commands, per kind of aggregate.
    pub cached_events: u64,
    /// How often a tail looks for new events when no wake-up reached it.
    pub poll_interval_ms: u64,
    /// How long an append waits for the shard's head.
    pub lock_timeout_ms: u64,
    /// How long one statement may take.
    pub statement_timeout_ms: u64,
}

impl Default for EventStoreSettings {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            connections: 10,
            queue_capacity: 2_048,
            batch_max: 128,
            cached_events: 20_000,
            poll_interval_ms: 250,
            lock_timeout_ms: 2_000,
            statement_timeout_ms: 5_000,
        }
    }
}

/// One shard of the event store.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSettings {
    pub id: i16,
    #[serde(default)]
    pub url: DatabaseUrl,
    /// A file that holds the URL.
    #[serde(default)]
    pub url_file: Option<PathBuf>,
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
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            conflict_retries: 5,
            catalogue_max_age_ms: 1_000,
            catalogue_entries: 100_000,
            events_page_max: 1_000,
        }
    }
}

/// The projector.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectorSettings {
    /// Events folded and written in one transaction, at most.
    pub batch_max: usize,
    /// How often checkpoints are compared with the slots' heads, to find what a feed lost.
    pub reconcile_interval_ms: u64,
    /// Pause before a failed batch is tried again; doubles up to `retry_max_ms`.
    pub retry_min_ms: u64,
    pub retry_max_ms: u64,
}

impl Default for ProjectorSettings {
    fn default() -> Self {
        Self {
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
            for (key, value) in keys.as_object().into_iter().flatten() {
                if !value.is_null() {
                    let newline = if first { "" } else { "\n" };
                    write!(f, "{newline}{section}.{key} = {value}")?;
                    first = false;
                }
            }
        }
        Ok(())
    }
}
