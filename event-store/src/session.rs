//! The committer's own connection to its shard, lost and found again.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use crate::branch::{Branch, Epoch};
use crate::ids::{Position, ShardId};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Session {
    shard: ShardId,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// How often the shard had been opened again when it was last met, and the last position that
    /// it acknowledged since: a log that ends before that was restored.
    reopened: i32,
    acknowledged: Position,
    branch: Branch,
}

impl Session {
    pub(crate) fn new(shard: ShardId, options: PgConnectOptions, branch: Branch) -> Self {
        Self {
            shard,
            options,
            connection: None,
            reopened: 0,
            acknowledged: Position::default(),
            branch,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.branch.epoch()
    }

    /// The connection, made if need be; tries until `deadline`, and at least once.
    pub(crate) async fn connection(&mut self, deadline: Instant) -> Result<&mut PgConnection, sqlx::Error> {
        let mut pause = FIRST_PAUSE;
        let connection = loop {
            if let Some(connection) = self.connection.take() {
                break connection;
            }
            match self.connect().await {
                Ok(connection) => break connection,
                Err(error) if Instant::now() + pause > deadline => return Err(error),
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        Ok(self.connection.insert(connection))
    }

    pub(crate) fn acknowledged(&mut self, position: Position) {
        self.acknowledged = self.acknowledged.max(position);
    }

    async fn connect(&mut self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = timeout(CONNECT_TIMEOUT, self.options.connect())
            .await
            .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
        let (shard, state, reopened, durable): (i16, String, i32, bool) = sqlx::query_as(
            "SELECT shard_id, state, reopened, \
                    current_setting('fsync')::bool AND current_setting('synchronous_commit') <> 'off' \
               FROM recognise_server($1, $2)",
        )
        .bind(self.reopened)
        .bind(self.acknowledged.0)
        .fetch_one(&mut connection)
        .await?;
        if ShardId(shard) != self.shard {
            return Err(sqlx::Error::Configuration(
                format!("the database of shard {} says that it is shard {shard}", self.shard).into(),
            ));
        }
        if state != "open" {
            tracing::error!(
                shard = shard,
                state,
                "the shard takes no appends until its slots were compared"
            );
        }
        // After the state: a shard that is opened later was closed to this session.
        timeout(CONNECT_TIMEOUT, self.branch.look(&mut connection))
            .await
            .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
        if reopened > self.reopened {
            self.reopened = reopened;
            self.acknowledged = Position::default();
        }
        if !durable {
            tracing::warn!(
                shard = shard,
                "the server is set not to keep commits: a crash will lose acknowledged events"
            );
        }
        Ok(connection)
    }

    /// Forgets a connection whose state is unknown. The socket is closed without a farewell: the
    /// server may be gone, or busy with a statement whose answer is no longer awaited.
    pub(crate) fn discard(&mut self) {
        drop(self.connection.take());
    }

    pub(crate) async fn close(mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(shard = %self.shard, error = %error, "closing the committer's connection");
        }
    }
}

/// What an error means for the batch that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The data of some append (SQLSTATE classes 22 and 23): find it by splitting.
    Data,
    /// The connection: connect again and send the batch again, whole.
    Connection,
    /// Anything else: nothing was stored, and trying again at once would not help.
    Server,
}

/// Whether the shard refuses because it was restored or promoted.
pub(crate) fn awaits_comparison(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("CM004")
}

pub(crate) fn classify(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(code) if code.starts_with("22") || code.starts_with("23") => Failure::Data,
            // Connection exceptions; shut down by an operator or a crash, starting up; full.
            Some(code) if code.starts_with("08") || code.starts_with("57P") || code == "53300" => Failure::Connection,
            _ => Failure::Server,
        },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Failure::Connection
        }
        _ => Failure::Server,
    }
}
