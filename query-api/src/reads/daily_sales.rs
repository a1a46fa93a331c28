//! What an establishment sold, by business day.

use chrono::NaiveDate;
use domain::{BusinessDate, EstablishmentId};

use super::require_establishment;
use crate::error::Error;
use crate::read_model::ReadModel;
use crate::session::Session;
use crate::sql::{OF_TENANT, Statement, get};

/// A day with at least one order that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DayRow {
    pub(crate) date: NaiveDate,
    pub(crate) currency: String,
    pub(crate) orders: i64,
    /// Minor units.
    pub(crate) sales: i64,
    pub(crate) unique_customers: i64,
}

/// The days from `from` to `to`, both included. Six narrow columns: selecting among them would
/// save nothing.
pub(crate) async fn between(
    session: &Session,
    establishment: &EstablishmentId,
    from: BusinessDate,
    to: BusinessDate,
) -> Result<Vec<DayRow>, Error> {
    require_establishment(&session.principal, establishment)?;
    let mut statement = Statement::new(session.scope())?;
    let establishment = statement.bind(establishment.as_str().to_owned())?;
    let (from, to) = (statement.bind(from.0)?, statement.bind(to.0)?);
    let table = session.table(ReadModel::DailySales)?;
    let columns = ["business_date", "currency", "orders", "sales", "unique_customers"];
    let page = format!(
        "SELECT page.business_date, page.currency, page.orders, page.sales, page.unique_customers \
         FROM {} AS page WHERE {OF_TENANT} AND page.establishment_id = {establishment} \
         AND page.business_date BETWEEN {from} AND {to} AND page.orders > 0",
        table.name
    );
    let read = statement.read(&[table], &[], &columns, &page, "page.business_date");
    let rows = session.fetch(read).await?;
    let days = rows.page()?.map(|(row, at)| {
        Ok(DayRow {
            date: get(row, at)?,
            currency: get(row, at + 1)?,
            orders: get(row, at + 2)?,
            sales: get(row, at + 3)?,
            unique_customers: get(row, at + 4)?,
        })
    });
    days.collect()
}
