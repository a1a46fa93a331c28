//! The tenant's places of business, as far as the token is for them.

use chrono::{DateTime, Utc};
use domain::EstablishmentId;
use sqlx::postgres::PgRow;

use super::of_establishments;
use super::page::{self, List, Page, Window, text_key};
use crate::cursor::ListShape;
use crate::error::Error;
use crate::plan::{Columns, EstablishmentColumn, ListSelection};
use crate::read_model::ReadModel;
use crate::session::Session;
use crate::sql::{OF_TENANT, Statement, get};

text_key! {
    /// Where an establishment stands in the list: by its REST id.
    EstablishmentKey on "establishment_id"
}

/// A row of `establishments`; `None` is a column that is null or was not read.
#[derive(Debug, Default, Clone)]
pub(crate) struct EstablishmentRow {
    pub(crate) establishment_id: String,
    pub(crate) name: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) currency: Option<String>,
    pub(crate) tax_mode: Option<String>,
    pub(crate) tax_rate_ppm: Option<i32>,
    pub(crate) kind: Option<String>,
    pub(crate) version: Option<i64>,
    pub(crate) updated_at: Option<DateTime<Utc>>,
}

pub(crate) fn shape(session: &Session) -> ListShape {
    ListShape::new("establishments", session.scope().tenant())
}

pub(crate) async fn by_id(
    session: &Session,
    establishment: &EstablishmentId,
    columns: &Columns<EstablishmentColumn>,
) -> Result<Option<EstablishmentRow>, Error> {
    let mut statement = Statement::new(session.scope())?;
    let id = statement.bind(establishment.as_str().to_owned())?;
    let allowed = of_establishments(&session.principal, &mut statement, false)?;
    let table = session.table(ReadModel::Establishments)?;
    let page = format!(
        "SELECT {} FROM {} AS page WHERE {OF_TENANT} AND page.establishment_id = {id}{allowed}",
        columns.select(),
        table.name
    );
    let read = statement.read(&[table], &[], &columns.names(), &page, "page.establishment_id");
    let rows = session.fetch(read).await?;
    let establishment = rows
        .page()?
        .next()
        .map(|(row, from)| EstablishmentRow::read(row, from, columns));
    establishment.transpose()
}

pub(crate) async fn page(
    session: &Session,
    window: &Window<EstablishmentKey>,
    columns: &Columns<EstablishmentColumn>,
    wanted: ListSelection,
) -> Result<Page<EstablishmentRow>, Error> {
    let mut statement = Statement::new(session.scope())?;
    let condition = format!(
        "{OF_TENANT}{}",
        of_establishments(&session.principal, &mut statement, false)?
    );
    let source = List {
        table: session.table(ReadModel::Establishments)?,
        condition: &condition,
    };
    page::read(session, statement, &source, window, columns, wanted, |row, from| {
        EstablishmentRow::read(row, from, columns)
    })
    .await
}

impl EstablishmentRow {
    fn read(row: &PgRow, from: usize, columns: &Columns<EstablishmentColumn>) -> Result<Self, Error> {
        let mut establishment = Self::default();
        for (offset, column) in columns.iter().enumerate() {
            let at = from + offset;
            match column {
                EstablishmentColumn::EstablishmentId => establishment.establishment_id = get(row, at)?,
                EstablishmentColumn::Name => establishment.name = get(row, at)?,
                EstablishmentColumn::TimeZone => establishment.time_zone = get(row, at)?,
                EstablishmentColumn::Currency => establishment.currency = get(row, at)?,
                EstablishmentColumn::TaxMode => establishment.tax_mode = get(row, at)?,
                EstablishmentColumn::TaxRatePpm => establishment.tax_rate_ppm = get(row, at)?,
                EstablishmentColumn::Kind => establishment.kind = get(row, at)?,
                EstablishmentColumn::Version => establishment.version = get(row, at)?,
                EstablishmentColumn::UpdatedAt => establishment.updated_at = get(row, at)?,
            }
        }
        Ok(establishment)
    }
}
