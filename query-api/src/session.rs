//! What one request reads, and from where.
//!
//! A session takes one connection for the whole request, when the first statement needs it. A
//! request of one statement runs it on its own; one of several runs them on one snapshot, so that
//! an order never shows a timeline that is ahead of it, and a field selected twice merges with
//! itself. Dropping a session at any point returns the connection with nothing left open.

use std::sync::Arc;

use async_graphql::Context;
use service::{Principal, TenantScope};
use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Transaction};
use tokio::sync::Mutex;

use crate::error::Error;
use crate::position::Checkpoint;
use crate::read_model::{Pointers, ReadModel, Table};
use crate::sql::{Read, Rows};
use crate::stores::Replica;

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(crate) struct Session {
    pub(crate) principal: Principal,
    source: Option<(Arc<Replica>, Arc<Pointers>)>,
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
    pub(crate) fn new(principal: Principal, source: Option<(Arc<Replica>, Arc<Pointers>)>, snapshot: bool) -> Self {
        Self {
            principal,
            source,
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
        let (_, pointers) = self.source.as_ref().ok_or(Error::NotReady(model))?;
        pointers.table(model)
    }

    /// Runs a statement.
    pub(crate) async fn fetch(&self, read: Read) -> Result<Rows, Error> {
        let Some((replica, _)) = &self.source else {
            return Err(Error::NotReady(ReadModel::Orders));
        };
        let (sql, arguments, shape) = read.into_parts();
        let mut state = self.state.lock().await;
        let query = sqlx::query_with(&sql, arguments);
        let rows = match self.connect(&mut state, replica).await? {
            Connection::Plain(connection) => query.fetch_all(&mut **connection).await,
            Connection::Snapshot(transaction) => query.fetch_all(&mut **transaction).await,
        }
        .map_err(|error| replica.failed(error))?;
        let rows = Rows::new(&shape, rows)?;
        for standing in &rows.standing {
            state.seen.furthest = state.seen.furthest.max(Some(standing.checkpoint));
            if standing.parked && !state.seen.parked.contains(&standing.model) {
                state.seen.parked.push(standing.model);
            }
        }
        Ok(rows)
    }

    async fn connect<'s>(&self, state: &'s mut State, replica: &Replica) -> Result<&'s mut Connection, Error> {
        if state.connection.is_none() {
            let pool = replica.pool();
            let connection = if self.snapshot {
                pool.begin_with(SNAPSHOT).await.map(Connection::Snapshot)
            } else {
                pool.acquire().await.map(Connection::Plain)
            };
            state.connection = Some(connection.map_err(|error| replica.failed(error))?);
        }
        state.connection.as_mut().ok_or(Error::Overloaded)
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

    /// Ends the request's reading and tells what it saw.
    pub(crate) async fn finish(&self) -> Seen {
        let mut state = self.state.lock().await;
        if let Some(Connection::Snapshot(transaction)) = state.connection.take()
            && let Err(error) = transaction.commit().await
        {
            // Nothing was written; the rows are here already.
            tracing::debug!(error = %error, "ending a snapshot failed");
        }
        std::mem::take(&mut state.seen)
    }
}
