//! Orders: one by id, one by number, and an establishment's, newest first.

use chrono::{DateTime, Utc};
use domain::order::OrderStatus;
use domain::{BusinessDate, EstablishmentId, OrderId, Timestamp};
use uuid::Uuid;

use super::order_row::OrderRow;
use super::page::{self, List, Page, PageKey, Window};
use super::{of_establishments, require_establishment};
use crate::cursor::{CursorKey, ListShape};
use crate::error::Error;
use crate::plan::{Columns, ListSelection, OrderColumn};
use crate::read_model::ReadModel;
use crate::session::Session;
use crate::sql::{OF_TENANT, Statement};

/// Where an order stands among its establishment's: newest first, ties by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderKey {
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) order_id: Uuid,
}

/// Which orders of an establishment.
#[derive(Debug, Clone)]
pub(crate) struct OrderList {
    pub(crate) establishment: EstablishmentId,
    /// Any of these; all where empty. Sorted, each once.
    pub(crate) status: Vec<OrderStatus>,
    /// Placed at or after.
    pub(crate) from: Option<Timestamp>,
    /// Placed before.
    pub(crate) to: Option<Timestamp>,
    pub(crate) text: Option<String>,
}

/// The order of this id, if the token may see it.
pub(crate) async fn by_id(
    session: &Session,
    order: OrderId,
    columns: &Columns<OrderColumn>,
) -> Result<Option<OrderRow>, Error> {
    let mut statement = Statement::new(session.scope())?;
    let id = statement.bind(order.0)?;
    let establishments = of_establishments(&session.principal, &mut statement, false)?;
    let condition = format!("{OF_TENANT} AND page.order_id = {id}{establishments}");
    one(session, statement, &condition, columns).await
}

/// The order that an establishment called out as `number` on a business day.
pub(crate) async fn by_number(
    session: &Session,
    establishment: &EstablishmentId,
    date: BusinessDate,
    number: i64,
    columns: &Columns<OrderColumn>,
) -> Result<Option<OrderRow>, Error> {
    require_establishment(&session.principal, establishment)?;
    let mut statement = Statement::new(session.scope())?;
    let establishment = statement.bind(establishment.as_str().to_owned())?;
    let (date, number) = (statement.bind(date.0)?, statement.bind(number)?);
    let condition = format!(
        "{OF_TENANT} AND page.establishment_id = {establishment} AND page.business_date = {date} \
         AND page.number = {number}"
    );
    one(session, statement, &condition, columns).await
}

async fn one(
    session: &Session,
    statement: Statement,
    condition: &str,
    columns: &Columns<OrderColumn>,
) -> Result<Option<OrderRow>, Error> {
    let table = session.table(ReadModel::Orders)?;
    let page = format!(
        "SELECT {} FROM {} AS page WHERE {condition}",
        columns.select(),
        table.name
    );
    let read = statement.read(&[table], &[], &columns.names(), &page, OrderKey::ORDER);
    let rows = session.fetch(read).await?;
    let order = rows
        .page()?
        .next()
        .map(|(row, from)| OrderRow::read(row, from, columns));
    order.transpose()
}

/// A page of an establishment's orders.
pub(crate) async fn page(
    session: &Session,
    list: &OrderList,
    window: &Window<OrderKey>,
    columns: &Columns<OrderColumn>,
    wanted: ListSelection,
) -> Result<Page<OrderRow>, Error> {
    require_establishment(&session.principal, &list.establishment)?;
    let mut statement = Statement::new(session.scope())?;
    let condition = list.condition(&mut statement)?;
    let source = List {
        table: session.table(ReadModel::Orders)?,
        condition: &condition,
    };
    page::read(session, statement, &source, window, columns, wanted, |row, from| {
        OrderRow::read(row, from, columns)
    })
    .await
}

impl OrderList {
    pub(crate) fn shape(&self, session: &Session) -> ListShape {
        let statuses: Vec<_> = self.status.iter().map(|status| status.as_str()).collect();
        ListShape::new("orders", session.scope().tenant())
            .with(self.establishment.as_str())
            .with(&statuses.join(","))
            .with_option(self.from.map(|time| time.to_string()).as_deref())
            .with_option(self.to.map(|time| time.to_string()).as_deref())
            .with_option(self.text.as_deref())
    }

    fn condition(&self, statement: &mut Statement) -> Result<String, Error> {
        let establishment = statement.bind(self.establishment.as_str().to_owned())?;
        let mut condition = format!("{OF_TENANT} AND page.establishment_id = {establishment}");
        match self.status.as_slice() {
            [] => {}
            // Equality lets the index by status give the order, too.
            [status] => {
                let bind = statement.bind(status.as_str().to_owned())?;
                condition.push_str(&format!(" AND page.status = {bind}"));
            }
            several => {
                let names: Vec<String> = several.iter().map(|status| status.as_str().to_owned()).collect();
                let bind = statement.bind(names)?;
                condition.push_str(&format!(" AND page.status = ANY({bind})"));
            }
        }
        if let Some(from) = self.from {
            let bind = statement.bind(from.as_datetime())?;
            condition.push_str(&format!(" AND page.placed_at >= {bind}"));
        }
        if let Some(to) = self.to {
            let bind = statement.bind(to.as_datetime())?;
            condition.push_str(&format!(" AND page.placed_at < {bind}"));
        }
        if let Some(text) = &self.text {
            let bind = statement.bind(text.clone())?;
            // The configuration that the column was made with.
            condition.push_str(&format!(
                " AND page.search @@ websearch_to_tsquery('pg_catalog.simple', {bind})"
            ));
        }
        Ok(condition)
    }
}

impl CursorKey for OrderKey {
    fn to_bytes(&self) -> Vec<u8> {
        // PostgreSQL keeps microseconds, so nothing is lost.
        let mut bytes = self.placed_at.timestamp_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.order_id.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_at_checked(8)?;
        let placed_at = DateTime::from_timestamp_micros(i64::from_be_bytes(time.try_into().ok()?))?;
        Some(Self {
            placed_at,
            order_id: Uuid::from_slice(id).ok()?,
        })
    }
}

impl PageKey for OrderKey {
    const ORDER: &'static str = "page.placed_at DESC, page.order_id";
    const REVERSE: &'static str = "page.placed_at, page.order_id DESC";

    // The first comparison bounds the scan of the index, the second settles ties within it.
    fn after(&self, statement: &mut Statement, inclusive: bool) -> Result<String, Error> {
        let (time, id) = (statement.bind(self.placed_at)?, statement.bind(self.order_id)?);
        let than = if inclusive { ">=" } else { ">" };
        Ok(format!(
            "page.placed_at <= {time} AND (page.placed_at < {time} OR page.order_id {than} {id})"
        ))
    }

    fn before(&self, statement: &mut Statement, inclusive: bool) -> Result<String, Error> {
        let (time, id) = (statement.bind(self.placed_at)?, statement.bind(self.order_id)?);
        let than = if inclusive { "<=" } else { "<" };
        Ok(format!(
            "page.placed_at >= {time} AND (page.placed_at > {time} OR page.order_id {than} {id})"
        ))
    }
}
