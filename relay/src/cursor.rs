//! The cursor and the lease of a shard, in the shard itself.
//!
//! Guarantee: of all relays, one at a time is told that a lease is its own, by the database's clock;
//! only it moves the cursor, and only forward. After a crash the lease runs out and the cursor stays.
//!
//! A relay that has lost its lease may not know it yet and go on sending for a moment. That costs
//! repetitions and nothing else, so neither the clock nor the lease is needed for correctness.
//!
//! What a relay remembers of the cursor is never trusted beyond the shard it was read from: a standby
//! promoted or a backup restored at the same address may know less, and gives out the positions in
//! between for other events. So keeping the lease and moving the cursor compare; where the shard is
//! not as the relay left it, the lease is lost, and publishing begins anew at the stored cursor.

use std::time::Duration;

use event_store::{Position, ShardId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::error::Error;
use crate::membership::designated;
use crate::settling::Proven;

const PATIENCE: Duration = Duration::from_secs(3);

/// A lease, and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    term: i64,
    /// The cursor as last written.
    pub(crate) position: Position,
    /// How often the shard had been opened again after a promotion or restoration.
    reopened: i32,
    /// Where the topic's partitions ended at least, as of a while ago; may be empty.
    pub(crate) settled_ends: Vec<i64>,
}

/// Who a relay is, and which shard it looks after here.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) topic: String,
    pub(crate) relay: Uuid,
    pub(crate) name: String,
    pub(crate) lease: Duration,
    pub(crate) shard: ShardId,
    /// All shards, as they become more.
    pub(crate) shards: watch::Receiver<Vec<ShardId>>,
}

/// What a look at the shard's lease said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attendance {
    /// The lease is ours.
    Held(Lease),
    /// It is ours, and should be another relay's.
    HandOver(Lease),
    /// It should be ours, and another relay has it still.
    Awaited,
    Elsewhere,
}

/// What is not published yet, by the database's own count and clock.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Backlog {
    /// The end of the log.
    pub(crate) head: Position,
    /// The age of the first event behind the cursor.
    pub(crate) ms: f64,
}

/// The connection over which a shard's lease is kept.
#[derive(Debug)]
pub(crate) struct Desk {
    post: Post,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    backlog: Backlog,
}

impl Desk {
    pub(crate) fn new(post: Post, url: &str) -> Result<Self, Error> {
        let options: PgConnectOptions = url
            .parse()
            .map_err(|_| Error::Settings(format!("shard {}: its URL is not one of PostgreSQL's", post.shard)))?;
        // A cursor that a crash of the database sets back costs repetitions; a flush for every
        // move would be paid by the appends.
        let options = options.application_name("comanda relay").options([
            ("synchronous_commit", "off"),
            ("statement_timeout", "2000"),
            ("lock_timeout", "1000"),
        ]);
        Ok(Self {
            post,
            options,
            connection: None,
            backlog: Backlog::default(),
        })
    }

    /// Says that this relay is here, keeps its lease, or takes one that is free and falls to it.
    pub(crate) async fn attend(&mut self, held: Option<&Lease>) -> Result<Attendance, Error> {
        let post = self.post.clone();
        let here = post.relay;
        let others = self
            .run("say that the relay is here", async |connection| {
                present(connection, &post).await
            })
            .await?;
        let present: Vec<Uuid> = others.into_iter().chain([here]).collect();
        let ours = designated(post.shard, &post.shards.borrow(), &present) == Some(here);
        let Some(lease) = held else {
            if !ours {
                return Ok(Attendance::Elsewhere);
            }
            let taken = self
                .run("take the lease", async |connection| take(connection, &post).await)
                .await?;
            return Ok(taken.map_or(Attendance::Awaited, Attendance::Held));
        };
        let kept = self
            .run("keep the lease", async |connection| {
                keep(connection, &post, lease).await
            })
            .await?;
        let (position, backlog) = kept.ok_or(Error::LeaseLost)?;
        self.backlog = backlog;
        // Further than remembered where the answer to a move was lost.
        let lease = Lease {
            position,
            ..lease.clone()
        };
        Ok(if ours {
            Attendance::Held(lease)
        } else {
            Attendance::HandOver(lease)
        })
    }

    /// As of the last time that the lease was kept.
    pub(crate) fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// Everything up to `to` is in Kafka; what is settled is kept with it. Keeps the lease, too.
    pub(crate) async fn advance(
        &mut self,
        lease: &mut Lease,
        to: Position,
        settled: Option<&Proven>,
    ) -> Result<(), Error> {
        let post = self.post.clone();
        let moved = self.run("move the cursor", async |connection| {
            advance(connection, &post, lease, to, settled).await
        });
        if !moved.await? {
            return Err(Error::LeaseLost);
        }
        lease.position = to;
        if let Some(settled) = settled {
            lease.settled_ends.clone_from(&settled.ends);
        }
        Ok(())
    }

    /// Kafka has lost what it acknowledged: back to where it surely had everything.
    pub(crate) async fn rewind(&mut self, lease: &mut Lease) -> Result<(), Error> {
        let post = self.post.clone();
        let to = self.run("set the cursor back", async |connection| {
            sqlx::query_scalar::<_, i64>(
                "UPDATE relay_cursors SET position = least(position, settled_position), rewinds = rewinds + 1, \
                                          settled_ends = '{}' \
                  WHERE topic = $1 AND holder = $2 AND term = $3 RETURNING position",
            )
            .bind(&post.topic)
            .bind(post.relay)
            .bind(lease.term)
            .fetch_optional(connection)
            .await
        });
        lease.position = Position(to.await?.ok_or(Error::LeaseLost)?);
        lease.settled_ends.clear();
        Ok(())
    }

    /// Gives the lease back, so that the next relay need not wait for its end.
    pub(crate) async fn release(&mut self, lease: &Lease) -> Result<(), Error> {
        let post = self.post.clone();
        self.run("give the lease back", async |connection| {
            sqlx::query(
                "UPDATE relay_cursors SET holder = NULL, lease_until = '-infinity' \
                  WHERE topic = $1 AND holder = $2 AND term = $3",
            )
            .bind(&post.topic)
            .bind(post.relay)
            .bind(lease.term)
            .execute(connection)
            .await
        })
        .await
        .map(drop)
    }

    /// Says that this relay goes, so that the others share its shards at once.
    pub(crate) async fn leave(&mut self) -> Result<(), Error> {
        let post = self.post.clone();
        self.run("say that the relay goes", async |connection| {
            sqlx::query("DELETE FROM relay_members WHERE topic = $1 AND relay = $2")
                .bind(&post.topic)
                .bind(post.relay)
                .execute(connection)
                .await
        })
        .await
        .map(drop)
    }

    /// Runs a statement in bounded time. A connection that failed is not used again.
    async fn run<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let (options, taken) = (&self.options, self.connection.take());
        let worked = timeout(PATIENCE, async {
            let mut connection = match taken {
                Some(connection) => connection,
                None => options.connect().await?,
            };
            let done = work(&mut connection).await?;
            Ok((done, connection))
        });
        let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        let (done, connection) = worked.await.unwrap_or_else(late).map_err(Error::shard(doing))?;
        self.connection = Some(connection);
        Ok(done)
    }

    pub(crate) async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = timeout(PATIENCE, connection.close()).await;
        }
    }
}

/// Returns the other relays that are here.
async fn present(connection: &mut PgConnection, post: &Post) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH gone AS ( \
             DELETE FROM relay_members WHERE topic = $1 AND relay <> $2 AND present_until < clock_timestamp() \
         ), here AS ( \
             INSERT INTO relay_members (topic, relay, name, present_until) \
             VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond') \
             ON CONFLICT (topic, relay) DO UPDATE SET present_until = excluded.present_until \
         ) \
         SELECT relay FROM relay_members WHERE topic = $1 AND relay <> $2 AND present_until >= clock_timestamp()",
    )
    .bind(&post.topic)
    .bind(post.relay)
    .bind(&post.name)
    .bind(milliseconds(post.lease))
    .fetch_all(connection)
    .await
}

/// `None` where another relay has it. No event is behind a cursor that lies beyond the log's end: it
/// goes back to there.
async fn take(connection: &mut PgConnection, post: &Post) -> Result<Option<Lease>, sqlx::Error> {
    let taken: Option<(i64, i64, Vec<i64>, i32)> = sqlx::query_as(
        "INSERT INTO relay_cursors AS c (topic, holder, term, lease_until) \
         VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond') \
         ON CONFLICT (topic) DO UPDATE \
            SET holder = excluded.holder, term = c.term + 1, lease_until = excluded.lease_until, \
                position = least(c.position, (SELECT position FROM shard)), \
                settled_position = least(c.settled_position, (SELECT position FROM shard)), \
                rewinds = c.rewinds + coalesce((c.position > (SELECT position FROM shard))::integer, 0) \
          WHERE c.lease_until < clock_timestamp() OR c.holder = excluded.holder \
         RETURNING term, position, settled_ends, (SELECT reopened FROM shard)",
    )
    .bind(&post.topic)
    .bind(post.relay)
    .bind(milliseconds(post.lease))
    .fetch_optional(connection)
    .await?;
    Ok(taken.map(|(term, position, settled_ends, reopened)| Lease {
        term,
        position: Position(position),
        reopened,
        settled_ends,
    }))
}

/// The stored cursor, and what is behind it. A lease that has run out and was taken by nobody is
/// still ours; `None` where it is not, or the shard is not as this relay left it.
async fn keep(
    connection: &mut PgConnection,
    post: &Post,
    lease: &Lease,
) -> Result<Option<(Position, Backlog)>, sqlx::Error> {
    let kept: Option<(i64, i64, Option<f64>)> = sqlx::query_as(
        "UPDATE relay_cursors c SET lease_until = clock_timestamp() + $4 * interval '1 millisecond' \
           FROM shard s \
          WHERE c.topic = $1 AND c.holder = $2 AND c.term = $3 \
            AND c.position >= $5 AND s.position >= $5 AND s.reopened = $6 \
         RETURNING c.position, s.position, \
                   (SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8 * 1000 FROM events e \
                     WHERE e.position > c.position ORDER BY e.position LIMIT 1)",
    )
    .bind(&post.topic)
    .bind(post.relay)
    .bind(lease.term)
    .bind(milliseconds(post.lease))
    .bind(lease.position.0)
    .bind(lease.reopened)
    .fetch_optional(connection)
    .await?;
    Ok(kept.map(|(position, head, ms)| {
        let backlog = Backlog {
            head: Position(head),
            ms: ms.unwrap_or(0.0).max(0.0),
        };
        (Position(position), backlog)
    }))
}

/// Whether the cursor was moved: not where the lease is no longer ours, nor where the shard is not as
/// this relay left it.
async fn advance(
    connection: &mut PgConnection,
    post: &Post,
    lease: &Lease,
    to: Position,
    settled: Option<&Proven>,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query(
        "UPDATE relay_cursors c \
            SET position = $4, lease_until = clock_timestamp() + $5 * interval '1 millisecond', \
                settled_position = coalesce($6, c.settled_position), settled_ends = coalesce($7, c.settled_ends) \
           FROM shard s \
          WHERE c.topic = $1 AND c.holder = $2 AND c.term = $3 \
            AND c.position >= $8 AND s.position >= $4 AND s.reopened = $9",
    )
    .bind(&post.topic)
    .bind(post.relay)
    .bind(lease.term)
    .bind(to.0)
    .bind(milliseconds(post.lease))
    .bind(settled.map(|it| it.position.0))
    .bind(settled.map(|it| it.ends.as_slice()))
    .bind(lease.position.0)
    .bind(lease.reopened)
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
