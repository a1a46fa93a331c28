//! One shard as this process holds it: a committer to write with, a pool to read with.

use std::time::Duration;

use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::branch::Branch;
use crate::committer::Committer;
use crate::error::Error;
use crate::ids::{Position, ShardId};
use crate::options::{Options, ShardOptions};
use crate::queue::Queue;
use crate::session::Session;

/// The server's time-outs end a statement first; then the client stops waiting.
const GRACE: Duration = Duration::from_secs(2);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) url: String,
    pub(crate) pool: PgPool,
    pub(crate) queue: Queue,
    /// The last position committed by this process: wakes its tails.
    pub(crate) head: watch::Receiver<Position>,
    /// Loads streams, from the view that shows only what this shard owns.
    pub(crate) streams: PostgresEventRepository,
    /// Of its history, as last seen.
    pub(crate) branch: Branch,
}

impl Shard {
    /// Connects lazily; the committer starts at once and ends when the shard is dropped or
    /// `closing` is cancelled.
    pub(crate) fn start(
        shard: &ShardOptions,
        options: &Options,
        branch: Branch,
        closing: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, Error> {
        let server: PgConnectOptions = shard
            .url
            .parse()
            .map_err(|_| Error::Misconfigured(format!("shard {}: its URL is not one of PostgreSQL's", shard.id)))?;
        let statement_timeout = ("statement_timeout", options.statement_timeout.as_millis().to_string());
        let lock_timeout = ("lock_timeout", options.lock_timeout.as_millis().to_string());
        let (queue, jobs) = Queue::new(options.queue_capacity);
        let (head, head_seen) = watch::channel(Position::default());
        let committer = Committer {
            shard: shard.id,
            jobs,
            session: Session::new(
                shard.id,
                server
                    .clone()
                    .application_name("comanda committer")
                    .options([statement_timeout.clone(), lock_timeout]),
                branch.clone(),
            ),
            head,
            closing: closing.clone(),
            batch_max: options.batch_max,
            batch_max_bytes: options.batch_max_bytes,
            reconnect_within: options.reconnect_within,
            patience: options.statement_timeout + GRACE,
            down: false,
        };
        tasks.spawn(committer.run());
        let pool = PgPoolOptions::new()
            .max_connections(options.read_connections.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(
                server
                    .application_name("comanda log reader")
                    .options([statement_timeout]),
            );
        let streams = PostgresEventRepository::new(pool.clone()).with_tables("stream_events", "snapshots");
        Ok(Self {
            id: shard.id,
            url: shard.url.clone(),
            pool,
            queue,
            head: head_seen,
            streams,
            branch,
        })
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).finish_non_exhaustive()
    }
}
