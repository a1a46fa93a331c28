//! What happened to orders: the timelines of a whole page in one statement.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Error;
use crate::plan::{Columns, EntryColumn};
use crate::read_model::ReadModel;
use crate::session::Session;
use crate::sql::{OF_TENANT, Statement, get};

/// A row of `order_timeline`; `None` is a column that is null or was not read.
#[derive(Debug, Default, Clone)]
pub(crate) struct EntryRow {
    pub(crate) order_id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) event_type: Option<String>,
    pub(crate) from_status: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) occurred_at: Option<DateTime<Utc>>,
    pub(crate) recorded_at: Option<DateTime<Utc>>,
}

/// The entries of each order, in order of their sequence. The caller has checked that the token may
/// see the orders.
pub(crate) async fn of_orders(
    session: &Session,
    orders: Vec<Uuid>,
    columns: &Columns<EntryColumn>,
) -> Result<HashMap<Uuid, Vec<EntryRow>>, Error> {
    let mut statement = Statement::new(session.scope())?;
    let orders = statement.bind(orders)?;
    let table = session.table(ReadModel::OrderTimeline)?;
    let page = format!(
        "SELECT {} FROM {} AS page WHERE {OF_TENANT} AND page.order_id = ANY({orders})",
        columns.select(),
        table.name
    );
    let read = statement.read(&[table], &[], &columns.names(), &page, "page.order_id, page.sequence");
    let rows = session.fetch(read).await?;
    let mut timelines: HashMap<Uuid, Vec<EntryRow>> = HashMap::new();
    for (row, from) in rows.page()? {
        let entry = EntryRow::read(row, from, columns)?;
        timelines.entry(entry.order_id).or_default().push(entry);
    }
    Ok(timelines)
}

impl EntryRow {
    fn read(row: &PgRow, from: usize, columns: &Columns<EntryColumn>) -> Result<Self, Error> {
        let mut entry = Self::default();
        for (offset, column) in columns.iter().enumerate() {
            let at = from + offset;
            match column {
                EntryColumn::OrderId => entry.order_id = get(row, at)?,
                EntryColumn::Sequence => entry.sequence = get(row, at)?,
                EntryColumn::EventType => entry.event_type = get(row, at)?,
                EntryColumn::FromStatus => entry.from_status = get(row, at)?,
                EntryColumn::Status => entry.status = get(row, at)?,
                EntryColumn::Reason => entry.reason = get(row, at)?,
                EntryColumn::Actor => entry.actor = get(row, at)?,
                EntryColumn::OccurredAt => entry.occurred_at = get(row, at)?,
                EntryColumn::RecordedAt => entry.recorded_at = get(row, at)?,
            }
        }
        Ok(entry)
    }
}
