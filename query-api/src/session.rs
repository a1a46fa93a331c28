//! What one request reads, and from where.
//!
//! A session takes one connection for the whole request, when the first statement needs it. A
//! request of one statement runs it on its own; one of several runs them on one snapshot, so that
//! an order never shows a timeline that is ahead of it, and a field selected twice merges with
//! itself. Dropping a session at any point returns the connection with nothing left open.

use std::sync::Arc;

use async_graphql::Context;
use event_store::{PositionToken, Slot};
use service::{Principal, TenantScope};
use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Transaction};
use tokio::sync::Mutex;

use crate::error::Error;
use crate::position::Checkpoint;
use crate::read_model::{ReadModel, Table};
use crate::sql::{Read, Rows};
use crate::stores::{Lease, Replica};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(crate) struct Session {
    pub(crate) principal: Principal,
    source: Option<Lease>,
    /// What every row must be as new as.
    brought: Option<PositionToken>,
    /// More than one statement will run.
    snapshot: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    seen: Seen,
}

enum Connection {
    Plain(PoolConnection<Postgres>),
    Snapshot(Transaction<'static, Postgres>),
}

/// What the request's statements have shown of their read models.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The furthest checkpoint read.
    pub(crate) furthest: Option<Checkpoint>,
    /// Read models in which streams of the tenant are parked.
    pub(crate) parked: Vec<ReadModel>,
    /// Why the request cannot be answered now, if a statement found the store unable to.
    pub(crate) outage: Option<Outage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    Unavailable,
    Overloaded,
}

impl Session {
    /// `source` is `None` for operations that read nothing, such as introspection.
    pub(crate) fn new(
        principal: Principal,
        source: Option<Lease>,
        brought: Option<PositionToken>,
        snapshot: bool,
    ) -> Self {
        Self {
            principal,
            source,
            brought,
            snapshot,
            state: Mutex::default(),
        }
    }

    pub(crate) fn of<'c>(ctx: &Context<'c>) -> async_graphql::Result<&'c Arc<Self>> {
        ctx.data::<Arc<Self>>()
    }

    pub(crate) fn scope(&self) -> &TenantScope {
        self.principal.tenant()
    }

    pub(crate) fn table(&self, model: ReadModel) -> Result<&Table, Error> {
        let lease = self.source.as_ref().ok_or(Error::NotReady(model))?;
        lease.pointers.table(model)
    }

    /// Runs a statement.
    pub(crate) async fn fetch(&self, read: Read) -> Result<Rows, Error> {
        let Some(lease) = &self.source else {
            return Err(Error::NotReady(ReadModel::Orders));
        };
        let (sql, arguments, shape) = read.into_parts();
        let mut state = self.state.lock().await;
        let rows = lease.replica.run(async {
            let query = sqlx::query_with(&sql, arguments);
            match self.connect(&mut state, &lease.replica).await? {
                Connection::Plain(connection) => query.fetch_all(&mut **connection).await,
                Connection::Snapshot(transaction) => query.fetch_all(&mut **transaction).await,
            }
        });
        let rows = Rows::new(&shape, rows.await?)?;
        self.check(lease, &rows)?;
        for standing in &rows.standing {
            if !lease.pointers.table(standing.model)?.chosen {
                state.seen.furthest = state.seen.furthest.max(Some(standing.checkpoint));
            }
            if standing.parked && !state.seen.parked.contains(&standing.model) {
                state.seen.parked.push(standing.model);
            }
        }
        Ok(rows)
    }

    /// What the rows show is what counts. An endpoint that was known to be further has gone back
    /// (its server was restored, or the generation made anew): what was known of it is forgotten.
    fn check(&self, lease: &Lease, rows: &Rows) -> Result<(), Error> {
        let slot = Slot::of(self.scope().tenant());
        for standing in &rows.standing {
            let table = lease.pointers.table(standing.model)?;
            if table.chosen {
                continue;
            }
            if self
                .brought
                .as_ref()
                .is_some_and(|token| !standing.checkpoint.has_passed(token))
            {
                lease.replica.forget(standing.model);
                return Err(Error::NotReady(standing.model));
            }
            lease
                .replica
                .learn(standing.model, table.generation, slot, standing.checkpoint);
        }
        Ok(())
    }

    async fn connect<'s>(&self, state: &'s mut State, replica: &Replica) -> Result<&'s mut Connection, sqlx::Error> {
        let pool = replica.pool();
        let connection = match state.connection.take() {
            Some(connection) => connection,
            None if self.snapshot => Connection::Snapshot(pool.begin_with(SNAPSHOT).await?),
            None => Connection::Plain(pool.acquire().await?),
        };
        Ok(state.connection.insert(connection))
    }

    /// Turns a read's outcome into a field's: failures of ours are logged here, once, and shown
    /// without their cause.
    pub(crate) async fn answer<T>(&self, outcome: Result<T, Error>) -> async_graphql::Result<T> {
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.is_outage() {
            let outage = if matches!(error, Error::Overloaded) {
                Outage::Overloaded
            } else {
                Outage::Unavailable
            };
            self.state.lock().await.seen.outage.get_or_insert(outage);
        } else if !matches!(error, Error::Refused { .. }) {
            tracing::error!(error = &error as &dyn std::error::Error, "a query failed");
        }
        Err(error.for_client())
    }

    /// The endpoint that was read from.
    pub(crate) fn replica(&self) -> Option<Arc<Replica>> {
        self.source.as_ref().map(|lease| Arc::clone(&lease.replica))
    }

    /// Ends the request's reading and tells what it saw.
    pub(crate) async fn finish(&self) -> Seen {
        let mut state = self.state.lock().await;
        let connection = state.connection.take();
        // One that may hang is not spoken to again.
        if state.seen.outage.is_none()
            && let Some(Connection::Snapshot(transaction)) = connection
            && let Err(error) = transaction.commit().await
        {
            // Nothing was written; the rows are here already.
            tracing::debug!(error = %error, "ending a snapshot failed");
        }
        std::mem::take(&mut state.seen)
    }
}
