//! Products that an establishment sells.

use chrono::{DateTime, Utc};
use domain::{EstablishmentId, ProductId};
use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::page::{self, List, Page, Window, text_key};
use super::{of_establishments, require_establishment};
use crate::cursor::ListShape;
use crate::error::Error;
use crate::plan::{Columns, ListSelection, ProductColumn};
use crate::read_model::ReadModel;
use crate::session::Session;
use crate::sql::{OF_TENANT, Statement, get};

text_key! {
    /// Where a product stands in the catalogue: by its REST id.
    ProductKey on "product_id"
}

/// A row of `products`; `None` is a column that is null or was not read.
#[derive(Debug, Default, Clone)]
pub(crate) struct ProductRow {
    pub(crate) product_id: String,
    pub(crate) establishment_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) price: Option<i64>,
    pub(crate) currency: Option<String>,
    pub(crate) available: Option<bool>,
    pub(crate) modifiers: Option<Vec<ProductModifierRow>>,
    pub(crate) version: Option<i64>,
    pub(crate) updated_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ProductModifierRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) price: i64,
}

/// Which products.
#[derive(Debug, Clone)]
pub(crate) struct ProductList {
    /// Sold here, or everywhere.
    pub(crate) establishment: EstablishmentId,
    pub(crate) available: Option<bool>,
    pub(crate) category: Option<String>,
}

pub(crate) async fn by_id(
    session: &Session,
    product: &ProductId,
    columns: &Columns<ProductColumn>,
) -> Result<Option<ProductRow>, Error> {
    let mut statement = Statement::new(session.scope())?;
    let id = statement.bind(product.as_str().to_owned())?;
    let establishments = of_establishments(&session.principal, &mut statement, true)?;
    let table = session.table(ReadModel::Products)?;
    let page = format!(
        "SELECT {} FROM {} AS page WHERE {OF_TENANT} AND page.product_id = {id}{establishments}",
        columns.select(),
        table.name
    );
    let read = statement.read(&[table], &[], &columns.names(), &page, "page.product_id");
    let rows = session.fetch(read).await?;
    let product = rows
        .page()?
        .next()
        .map(|(row, from)| ProductRow::read(row, from, columns));
    product.transpose()
}

pub(crate) async fn page(
    session: &Session,
    list: &ProductList,
    window: &Window<ProductKey>,
    columns: &Columns<ProductColumn>,
    wanted: ListSelection,
) -> Result<Page<ProductRow>, Error> {
    require_establishment(&session.principal, &list.establishment)?;
    let mut statement = Statement::new(session.scope())?;
    let condition = list.condition(&mut statement)?;
    let source = List {
        table: session.table(ReadModel::Products)?,
        condition: &condition,
    };
    page::read(session, statement, &source, window, columns, wanted, |row, from| {
        ProductRow::read(row, from, columns)
    })
    .await
}

impl ProductList {
    pub(crate) fn shape(&self, session: &Session) -> ListShape {
        ListShape::new("products", session.scope().tenant())
            .with(self.establishment.as_str())
            .with_option(self.available.map(|available| available.to_string()).as_deref())
            .with_option(self.category.as_deref())
    }

    fn condition(&self, statement: &mut Statement) -> Result<String, Error> {
        let establishment = statement.bind(self.establishment.as_str().to_owned())?;
        let mut condition =
            format!("{OF_TENANT} AND (page.establishment_id = {establishment} OR page.establishment_id IS NULL)");
        if let Some(available) = self.available {
            let bind = statement.bind(available)?;
            condition.push_str(&format!(" AND page.available = {bind}"));
        }
        if let Some(category) = &self.category {
            let bind = statement.bind(category.clone())?;
            condition.push_str(&format!(" AND page.category = {bind}"));
        }
        Ok(condition)
    }
}

impl ProductRow {
    fn read(row: &PgRow, from: usize, columns: &Columns<ProductColumn>) -> Result<Self, Error> {
        let mut product = Self::default();
        for (offset, column) in columns.iter().enumerate() {
            let at = from + offset;
            match column {
                ProductColumn::ProductId => product.product_id = get(row, at)?,
                ProductColumn::EstablishmentId => product.establishment_id = get(row, at)?,
                ProductColumn::Name => product.name = get(row, at)?,
                ProductColumn::Category => product.category = get(row, at)?,
                ProductColumn::Price => product.price = get(row, at)?,
                ProductColumn::Currency => product.currency = get(row, at)?,
                ProductColumn::Available => product.available = get(row, at)?,
                ProductColumn::Modifiers => {
                    product.modifiers = get::<Option<Json<_>>>(row, at)?.map(|Json(modifiers)| modifiers);
                }
                ProductColumn::Version => product.version = get(row, at)?,
                ProductColumn::UpdatedAt => product.updated_at = get(row, at)?,
            }
        }
        Ok(product)
    }
}
