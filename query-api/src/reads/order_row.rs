//! A row of `orders`, as far as it was selected.
//!
//! The row is all that an `Order` of the schema is made of, so whatever can fill one (a fold of the
//! log up to a version or a time, one day) can be shown as an order.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::Error;
use crate::plan::{Columns, OrderColumn};
use crate::reads::orders::OrderKey;
use crate::sql::get;

/// `None` is a column that is null or was not read.
#[derive(Debug, Default, Clone)]
pub(crate) struct OrderRow {
    pub(crate) order_id: Uuid,
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) establishment_id: Option<String>,
    pub(crate) number: Option<i64>,
    pub(crate) business_date: Option<NaiveDate>,
    pub(crate) reference: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) service_type: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) table_id: Option<String>,
    pub(crate) currency: Option<String>,
    pub(crate) subtotal: Option<i64>,
    pub(crate) discount: Option<i64>,
    pub(crate) tax: Option<i64>,
    pub(crate) tip: Option<i64>,
    pub(crate) total: Option<i64>,
    pub(crate) item_count: Option<i32>,
    pub(crate) items: Option<Vec<ItemRow>>,
    pub(crate) customer_id: Option<String>,
    pub(crate) customer_name: Option<String>,
    pub(crate) customer_contact: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) updated_at: Option<DateTime<Utc>>,
    pub(crate) version: Option<i64>,
}

/// One element of the column `items`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ItemRow {
    pub(crate) line_id: String,
    #[serde(default)]
    pub(crate) product_id: Option<String>,
    pub(crate) name: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price: i64,
    #[serde(default)]
    pub(crate) modifiers: Vec<ModifierRow>,
    #[serde(default)]
    pub(crate) note: Option<String>,
    pub(crate) line_total: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ModifierRow {
    #[serde(default)]
    pub(crate) modifier_id: Option<String>,
    pub(crate) name: String,
    pub(crate) price: i64,
}

impl OrderRow {
    pub(crate) fn key(&self) -> OrderKey {
        OrderKey {
            placed_at: self.placed_at,
            order_id: self.order_id,
        }
    }

    /// `from` is the index of the first of `columns`.
    pub(crate) fn read(row: &PgRow, from: usize, columns: &Columns<OrderColumn>) -> Result<Self, Error> {
        let mut order = Self::default();
        for (offset, column) in columns.iter().enumerate() {
            let at = from + offset;
            match column {
                OrderColumn::OrderId => order.order_id = get(row, at)?,
                OrderColumn::PlacedAt => order.placed_at = get(row, at)?,
                OrderColumn::EstablishmentId => order.establishment_id = get(row, at)?,
                OrderColumn::Number => order.number = get(row, at)?,
                OrderColumn::BusinessDate => order.business_date = get(row, at)?,
                OrderColumn::Reference => order.reference = get(row, at)?,
                OrderColumn::Status => order.status = get(row, at)?,
                OrderColumn::ServiceType => order.service_type = get(row, at)?,
                OrderColumn::Channel => order.channel = get(row, at)?,
                OrderColumn::TableId => order.table_id = get(row, at)?,
                OrderColumn::Currency => order.currency = get(row, at)?,
                OrderColumn::Subtotal => order.subtotal = get(row, at)?,
                OrderColumn::Discount => order.discount = get(row, at)?,
                OrderColumn::Tax => order.tax = get(row, at)?,
                OrderColumn::Tip => order.tip = get(row, at)?,
                OrderColumn::Total => order.total = get(row, at)?,
                OrderColumn::ItemCount => order.item_count = get(row, at)?,
                OrderColumn::Items => order.items = get::<Option<Json<_>>>(row, at)?.map(|Json(items)| items),
                OrderColumn::CustomerId => order.customer_id = get(row, at)?,
                OrderColumn::CustomerName => order.customer_name = get(row, at)?,
                OrderColumn::CustomerContact => order.customer_contact = get(row, at)?,
                OrderColumn::Note => order.note = get(row, at)?,
                OrderColumn::UpdatedAt => order.updated_at = get(row, at)?,
                OrderColumn::Version => order.version = get(row, at)?,
            }
        }
        Ok(order)
    }
}
