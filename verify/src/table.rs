//! A read model's tables, and their rows as text, spelled in one way only.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::digest::{self, Digest, RowKey};
use crate::json;

/// How a column becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    /// Numbers, booleans and UUIDs: as PostgreSQL spells them.
    Plain,
    Date,
    /// To the microsecond, as [`domain::Timestamp`] spells it.
    Time,
    Json,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
}

pub(crate) const fn column(name: &'static str, kind: Type) -> Column {
    Column { name, kind }
}

/// Whose rows a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// A stream's: the key begins with its id.
    Stream,
    /// What several streams add up to.
    Sums,
    /// References to parked events: `meta.parked_events`.
    Parked,
}

/// A table whose key begins with `tenant_id`.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) holds: Holds,
    /// The key, without the tenant.
    pub(crate) key: &'static [Column],
    pub(crate) columns: &'static [Column],
    /// How many of the columns, the first ones, are written once.
    pub(crate) fixed: usize,
}

/// The parked events of a read model, held against the log like any of its tables.
pub(crate) const PARKED: Table = Table {
    name: "parked_events",
    holds: Holds::Parked,
    key: &[
        column("aggregate_type", Type::Text),
        column("aggregate_id", Type::Text),
        column("sequence", Type::Plain),
    ],
    columns: &[column("slot", Type::Plain), column("slot_position", Type::Plain)],
    fixed: 0,
};

/// A row, found or expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The table's place in its read model.
    pub(crate) table: usize,
    pub(crate) tenant: String,
    pub(crate) key: Vec<String>,
    pub(crate) columns: Vec<Option<String>>,
    /// Of an expected row: what the log has to say of it.
    pub(crate) note: Option<String>,
}

impl Row {
    pub(crate) fn row_key(&self) -> RowKey {
        RowKey::new(self.table, &self.tenant, self.key.iter().map(String::as_str))
    }

    pub(crate) fn digest(&self, table: &Table) -> Digest {
        let (fixed, moving) = self.columns.split_at(table.fixed.min(self.columns.len()));
        digest::row(digest::fixed(fixed), moving)
    }
}

impl Table {
    /// Every row of the tenant `$1`, key and columns as text.
    pub(crate) fn select(&self, schema: &str, read_model: &str, generation: i32) -> String {
        let columns: Vec<String> = self.key.iter().chain(self.columns).map(Column::as_text).collect();
        let columns = columns.join(", ");
        match self.holds {
            Holds::Stream | Holds::Sums => {
                format!(
                    "SELECT {columns} FROM {schema}.{} AS t WHERE t.tenant_id = $1",
                    self.name
                )
            }
            // The name is one of ours, so it is plain.
            Holds::Parked => format!(
                "SELECT {columns} FROM meta.parked_events AS t
                   JOIN meta.parked_streams AS s USING (read_model, generation, aggregate_type, aggregate_id)
                  WHERE s.read_model = '{read_model}' AND s.generation = {generation} AND s.tenant_id = $1"
            ),
        }
    }

    /// Reads what [`Table::select`] selects.
    pub(crate) fn read(&self, index: usize, tenant: &str, row: &PgRow) -> Result<Row, sqlx::Error> {
        let mut key = Vec::with_capacity(self.key.len());
        for place in 0..self.key.len() {
            key.push(row.try_get::<Option<String>, _>(place)?.unwrap_or_default());
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        for (place, column) in self.columns.iter().enumerate() {
            let text: Option<String> = row.try_get(self.key.len() + place)?;
            columns.push(match column.kind {
                Type::Json => text.map(|text| json::canonical(&text)),
                Type::Text | Type::Plain | Type::Date | Type::Time => text,
            });
        }
        Ok(Row {
            table: index,
            tenant: tenant.to_owned(),
            key,
            columns,
            note: None,
        })
    }
}

impl Column {
    fn as_text(&self) -> String {
        let name = self.name;
        match self.kind {
            Type::Text => format!("t.{name}"),
            Type::Plain | Type::Json => format!("t.{name}::text"),
            Type::Date => format!("to_char(t.{name}, 'YYYY-MM-DD')"),
            Type::Time => format!("to_char(t.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"),
        }
    }
}
