//! The read models this crate knows, and which generation of each is served.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row};

use crate::error::Error;
use crate::generation::Chosen;

/// A read model, by its name in `meta.read_models`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadModel {
    Orders,
    OrderTimeline,
    DailySales,
    Products,
    Establishments,
}

impl ReadModel {
    pub const ALL: [Self; 5] = [
        Self::Orders,
        Self::OrderTimeline,
        Self::DailySales,
        Self::Products,
        Self::Establishments,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::OrderTimeline => "order_timeline",
            Self::DailySales => "daily_sales",
            Self::Products => "products",
            Self::Establishments => "establishments",
        }
    }

    /// The table that queries read, within a generation's schema.
    const fn table(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::OrderTimeline => "entries",
            Self::DailySales => "days",
            Self::Products => "products",
            Self::Establishments => "establishments",
        }
    }

    pub(crate) fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.as_str() == name)
    }
}

impl fmt::Display for ReadModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The served generation of a read model, as statements name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) model: ReadModel,
    pub(crate) generation: i32,
    /// Schema-qualified and quoted, ready to stand in SQL.
    pub(crate) name: String,
    /// The request named it; it need not be the served one.
    pub(crate) chosen: bool,
}

/// Which generation of each read model is served: what a request resolves once and keeps.
#[derive(Debug)]
pub(crate) struct Pointers {
    tables: HashMap<ReadModel, Table>,
    pub(crate) read_at: Instant,
}

impl Pointers {
    pub(crate) async fn read(from: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let read_at = Instant::now();
        let rows = sqlx::query(
            "SELECT read_model, generation, schema_name \
             FROM meta.read_models JOIN meta.generations USING (read_model, generation)",
        )
        .fetch_all(from)
        .await?;
        let tables = rows.iter().map(|row| Table::read(row, false));
        let tables: Result<Vec<_>, _> = tables.collect();
        let tables = tables?
            .into_iter()
            .flatten()
            .map(|table| (table.model, table))
            .collect();
        Ok(Self { tables, read_at })
    }

    /// These, but for the generations that a request names. `Err` within tells which is not there, or
    /// about to go: its tables may not last as long as the request.
    pub(crate) async fn with(
        &self,
        chosen: &Chosen,
        from: impl PgExecutor<'_>,
    ) -> Result<Result<Self, (ReadModel, i32)>, sqlx::Error> {
        let (models, generations): (Vec<_>, Vec<_>) = chosen.iter().map(|(model, it)| (model.as_str(), it)).unzip();
        let rows = sqlx::query(
            "SELECT read_model, generation, schema_name FROM meta.generations \
             JOIN unnest($1::text[], $2::int[]) AS asked (read_model, generation) USING (read_model, generation) \
             WHERE state <> 'dropping'",
        )
        .bind(models)
        .bind(generations)
        .fetch_all(from)
        .await?;
        let mut tables = self.tables.clone();
        for row in &rows {
            if let Some(table) = Table::read(row, true)? {
                tables.insert(table.model, table);
            }
        }
        let missing = chosen
            .iter()
            .find(|(model, _)| !tables.get(model).is_some_and(|table| table.chosen));
        Ok(match missing {
            Some(missing) => Err(missing),
            None => Ok(Self {
                tables,
                read_at: self.read_at,
            }),
        })
    }

    pub(crate) fn table(&self, model: ReadModel) -> Result<&Table, Error> {
        self.tables.get(&model).ok_or(Error::NotReady(model))
    }
}

impl Table {
    /// From `read_model, generation, schema_name`; `None` for a read model that this binary does not
    /// know.
    fn read(row: &PgRow, chosen: bool) -> Result<Option<Self>, sqlx::Error> {
        let (name, generation, schema): (String, i32, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        // A name that is no plain identifier never reaches SQL, whoever wrote it there.
        let model = ReadModel::from_stored(&name).filter(|_| is_identifier(&schema));
        Ok(model.map(|model| Self {
            model,
            generation,
            name: format!("\"{schema}\".{}", model.table()),
            chosen,
        }))
    }
}

fn is_identifier(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_identifiers_are_schema_names() {
        assert!(is_identifier("orders_g1"));
        for hostile in ["", "1a", "a\"; drop table x; --", "A", "a.b", &"a".repeat(64)] {
            assert!(!is_identifier(hostile), "{hostile}");
        }
    }
}
