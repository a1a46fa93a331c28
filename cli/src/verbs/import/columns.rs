//! Finds the columns of a file by the names in its first line.

use csv::ByteRecord;

use super::options::Columns;

/// Why the columns do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error("the file has no column '{name}' (--column-{option}); it has: {found}")]
    Missing {
        option: &'static str,
        name: String,
        found: String,
    },
    #[error("the file has two columns named '{0}'")]
    Twice(String),
    #[error("no column tells prices (--column-price) or products (--column-product-id); the file has: {0}")]
    NothingPriced(String),
}

/// Where each value stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Fields that every record must have.
    pub(crate) width: usize,
    pub(crate) order_id: usize,
    pub(crate) quantity: Option<usize>,
    pub(crate) item_name: Option<usize>,
    pub(crate) choice: Option<usize>,
    pub(crate) price: Option<usize>,
    pub(crate) product_id: Option<usize>,
    pub(crate) placed_at: Option<usize>,
    pub(crate) customer: Option<usize>,
    pub(crate) customer_id: Option<usize>,
    pub(crate) table_id: Option<usize>,
}

impl Layout {
    pub(crate) fn find(header: &[String], columns: &Columns) -> Result<Self, ColumnError> {
        let find = |option, chosen: &Option<String>, default| find(header, option, chosen.as_deref(), default);
        let missing = |option, name: &str| ColumnError::Missing {
            option,
            name: name.to_owned(),
            found: header.join(", "),
        };
        let layout = Self {
            width: header.len(),
            order_id: find("order-id", &columns.order_id, "order_id")?
                .ok_or_else(|| missing("order-id", "order_id"))?,
            quantity: find("quantity", &columns.quantity, "quantity")?,
            item_name: find("item-name", &columns.item_name, "item_name")?,
            choice: find("choice", &columns.choice, "choice_description")?,
            price: find("price", &columns.price, "item_price")?,
            product_id: find("product-id", &columns.product_id, "product_id")?,
            placed_at: find("placed-at", &columns.placed_at, "placed_at")?,
            customer: find("customer", &columns.customer, "customer")?,
            customer_id: find("customer-id", &columns.customer_id, "customer_id")?,
            table_id: find("table-id", &columns.table_id, "table_id")?,
        };
        if layout.price.is_none() && layout.product_id.is_none() {
            return Err(ColumnError::NothingPriced(header.join(", ")));
        }
        Ok(layout)
    }

    /// The order id of a record, where it has one.
    pub(crate) fn order_of<'a>(&self, record: &'a ByteRecord) -> Option<&'a [u8]> {
        record
            .get(self.order_id)
            .map(<[u8]>::trim_ascii)
            .filter(|field| has_value(field))
    }
}

/// An empty field and `NULL` are the absence of a value.
pub(crate) fn has_value(field: &[u8]) -> bool {
    !field.is_empty() && !field.eq_ignore_ascii_case(b"null")
}

fn find(
    header: &[String],
    option: &'static str,
    chosen: Option<&str>,
    default: &str,
) -> Result<Option<usize>, ColumnError> {
    let name = chosen.unwrap_or(default);
    let mut places = header
        .iter()
        .enumerate()
        .filter(|(_, column)| column.eq_ignore_ascii_case(name));
    match (places.next(), places.next()) {
        (Some((place, _)), None) => Ok(Some(place)),
        (Some(_), Some(_)) => Err(ColumnError::Twice(name.to_owned())),
        (None, _) if chosen.is_none() => Ok(None),
        (None, _) => Err(ColumnError::Missing {
            option,
            name: name.to_owned(),
            found: header.join(", "),
        }),
    }
}
