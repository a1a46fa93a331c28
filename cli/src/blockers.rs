//! What stands in the way of a database of the platform: a session that holds what others wait for,
//! and a snapshot so old that appends slow down behind it.
//!
//! Both are sessions that somebody opened by hand or forgot: nothing of the platform holds a lock or
//! a snapshot for this long. They are named, never ended: only their owner knows whether that is safe.

use serde::Serialize;
use sqlx::PgConnection;

/// Sessions that hold what others wait for during less long are ahead in an ordinary queue. It is the
/// holder's age that counts: those who wait give up and come back within the lock time-out.
const HELD_MS: f64 = 1_000.0;
/// Younger snapshots are an ordinary query.
const SNAPSHOT_MS: f64 = 30_000.0;
/// Characters of a statement that are shown.
const QUERY_CHARS: i32 = 120;

/// One session in the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Blocker {
    /// Its server process, for `pg_terminate_backend`.
    pub(crate) pid: i32,
    /// What it calls itself.
    pub(crate) application: String,
    /// As `pg_stat_activity` has it: `active`, `idle in transaction`, …
    pub(crate) state: String,
    /// Since its transaction began.
    pub(crate) age_ms: f64,
    /// Sessions that wait for it, directly or behind others; 0 where only its snapshot is in the way.
    pub(crate) waiting: i64,
    /// Its statement, or its last one. May hold data of a tenant.
    pub(crate) query: String,
}

impl Blocker {
    /// What it does, without what it says: fit for everybody's eyes.
    pub(crate) fn summary(&self) -> String {
        let seconds = self.age_ms / 1_000.0;
        let session = format!("session {} ({}, {seconds:.0} s)", self.pid, self.state);
        match self.waiting {
            0 => format!("{session} holds a snapshot, which slows appends down"),
            1 => format!("{session} keeps 1 session waiting"),
            n => format!("{session} keeps {n} sessions waiting"),
        }
    }

    /// All that is known, for an operator.
    pub(crate) fn detail(&self) -> String {
        let name = if self.application.is_empty() {
            "unnamed"
        } else {
            &self.application
        };
        format!("{}: {name}, `{}`", self.summary(), self.query)
    }
}

/// The sessions in the way of this database, the worst first.
///
/// # Errors
/// Where the database does not answer.
pub(crate) async fn blockers(database: &mut PgConnection) -> Result<Vec<Blocker>, sqlx::Error> {
    // A waiting session names whom it waits for directly; those at the roots are at fault.
    let rows: Vec<(i32, String, String, f64, i64, String)> = sqlx::query_as(
        "WITH RECURSIVE waits AS (
             SELECT w.pid AS waiter, w.pid AS at
               FROM pg_stat_activity AS w
              WHERE w.datname = current_database() AND w.wait_event_type = 'Lock'
             UNION
             SELECT waits.waiter, ahead.pid FROM waits CROSS JOIN LATERAL unnest(pg_blocking_pids(waits.at)) AS ahead (pid)
         ), roots AS (
             SELECT at AS pid, count(DISTINCT waiter) AS waiting
               FROM waits WHERE at <> waiter AND cardinality(pg_blocking_pids(at)) = 0
              GROUP BY at
         )
         SELECT a.pid, coalesce(a.application_name, ''), coalesce(a.state, ''),
                (extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)) * 1000)::double precision,
                coalesce(r.waiting, 0), left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), $3)
           FROM pg_stat_activity AS a LEFT JOIN roots AS r USING (pid)
          WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
            AND ((r.pid IS NOT NULL
                  AND extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start)) * 1000 >= $1)
                 OR (a.backend_type = 'client backend' AND a.backend_xmin IS NOT NULL
                     AND extract(epoch FROM clock_timestamp() - a.xact_start) * 1000 >= $2))
          ORDER BY 5 DESC, 4 DESC",
    )
    .bind(HELD_MS)
    .bind(SNAPSHOT_MS)
    .bind(QUERY_CHARS)
    .fetch_all(database)
    .await?;
    let blocker = |(pid, application, state, age_ms, waiting, query)| Blocker {
        pid,
        application,
        state,
        age_ms,
        waiting,
        query,
    };
    Ok(rows.into_iter().map(blocker).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::{Connection, Executor};

    use super::*;

    async fn until<F: AsyncFnMut() -> bool>(mut condition: F) {
        let waited = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited)
            .await
            .expect("in time");
    }

    #[tokio::test]
    async fn given_a_session_that_forgot_its_transaction_then_it_is_named_and_those_in_its_queue_are_not() {
        let url = local_postgres::testing::fresh_database().await;
        let connect = async || PgConnection::connect(&url).await.unwrap();
        let (mut looker, mut forgetful) = (connect().await, connect().await);
        looker.execute("CREATE TABLE t (n int)").await.unwrap();
        assert_eq!(blockers(&mut looker).await.unwrap(), []);

        forgetful
            .execute("SET application_name = 'by hand'; BEGIN; LOCK TABLE t")
            .await
            .unwrap();
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
            .fetch_one(&mut forgetful)
            .await
            .unwrap();
        let mut queue = Vec::new();
        for _ in 0..2 {
            let mut waiter = connect().await;
            queue.push(tokio::spawn(async move {
                waiter.execute("INSERT INTO t VALUES (1)").await.map(|_| ())
            }));
        }
        until(async || {
            blockers(&mut looker)
                .await
                .unwrap()
                .first()
                .is_some_and(|first| first.waiting == 2)
        })
        .await;
        let found = blockers(&mut looker).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].pid, found[0].application.as_str()), (pid, "by hand"));
        assert_eq!(found[0].state, "idle in transaction");
        assert!(
            found[0].summary().ends_with("keeps 2 sessions waiting"),
            "{}",
            found[0].summary()
        );
        assert!(!found[0].summary().contains("by hand"));

        forgetful.execute("ROLLBACK").await.unwrap();
        for waiter in queue {
            waiter.await.unwrap().unwrap();
        }
        assert_eq!(blockers(&mut looker).await.unwrap(), []);
    }
}
