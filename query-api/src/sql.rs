//! Statements on the read store.
//!
//! A [`Statement`] cannot be begun without a [`TenantScope`]: the tenant is its first argument and
//! `tenant_id = $1` the first condition of every table it reads. Beside its rows each statement
//! returns, from the same snapshot, how far every read model it touches has read the tenant's slot
//! and whether streams of the tenant are parked there, so an answer and the position it claims can
//! never disagree, and knowing it costs no round trip.

use std::fmt;

use event_store::Slot;
use service::TenantScope;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Encode, Postgres, Row, Type};

use crate::error::Error;
use crate::position::Checkpoint;
use crate::read_model::{ReadModel, Table};

/// Columns that precede a statement's own: three per touched read model.
const META_COLUMNS: usize = 3;

/// The place of a bound argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bind(usize);

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

/// The condition that every table read starts with.
pub(crate) const OF_TENANT: &str = "page.tenant_id = $1";

/// A statement's arguments while it is being built.
pub(crate) struct Statement {
    arguments: PgArguments,
    bound: usize,
}

impl Statement {
    /// `$1` is the tenant, `$2` its slot.
    pub(crate) fn new(scope: &TenantScope) -> Result<Self, Error> {
        let mut statement = Self {
            arguments: PgArguments::default(),
            bound: 0,
        };
        statement.bind(scope.tenant().as_str().to_owned())?;
        statement.bind(i32::from(Slot::of(scope.tenant()).0))?;
        Ok(statement)
    }

    pub(crate) fn bind<T>(&mut self, value: T) -> Result<Bind, Error>
    where
        T: for<'q> Encode<'q, Postgres> + Type<Postgres>,
    {
        self.arguments
            .add(value)
            .map_err(|error| Error::Statement(sqlx::Error::Encode(error)))?;
        self.bound += 1;
        Ok(Bind(self.bound))
    }

    /// Finishes the statement: `page` is a query over the alias `page` whose columns are
    /// `columns`; `extras` are further expressions of the same snapshot; `order` sorts the answer.
    pub(crate) fn read(self, tables: &[&Table], extras: &[String], columns: &[&str], page: &str, order: &str) -> Read {
        let mut select = Vec::new();
        let mut from = String::from("FROM (SELECT 1) AS one");
        for (index, Table { model, generation, .. }) in tables.iter().enumerate() {
            select.push(format!(
                "c{index}.slot_position, c{index}.incarnation, CASE WHEN c{index}.parked > 0 THEN EXISTS (\
                 SELECT 1 FROM meta.parked_streams AS p WHERE p.tenant_id = $1 \
                 AND p.read_model = '{model}' AND p.generation = {generation}) ELSE FALSE END"
            ));
            from.push_str(&format!(
                " LEFT JOIN meta.checkpoints AS c{index} ON c{index}.read_model = '{model}' \
                 AND c{index}.generation = {generation} AND c{index}.slot = $2"
            ));
        }
        select.extend(extras.iter().cloned());
        select.extend(columns.iter().map(|column| format!("page.{column}")));
        Read {
            sql: format!(
                "SELECT {} {from} LEFT JOIN ({page}) AS page ON TRUE ORDER BY {order}",
                select.join(", ")
            ),
            arguments: self.arguments,
            models: tables.iter().map(|table| table.model).collect(),
            extras: extras.len(),
        }
    }
}

/// A statement ready to run.
pub(crate) struct Read {
    pub(crate) sql: String,
    pub(crate) arguments: PgArguments,
    models: Vec<ReadModel>,
    extras: usize,
}

/// What a statement returned: where it stood, and its rows.
pub(crate) struct Rows {
    pub(crate) standing: Vec<Standing>,
    rows: Vec<PgRow>,
    meta: usize,
    extras: usize,
}

/// How far a touched read model was when it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) model: ReadModel,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) parked: bool,
}

impl Rows {
    pub(crate) fn new(read: &ReadShape, rows: Vec<PgRow>) -> Result<Self, Error> {
        let meta = read.models.len() * META_COLUMNS;
        let mut standing = Vec::with_capacity(read.models.len());
        // The outer join gives a row even where the page is empty.
        let first = rows
            .first()
            .ok_or_else(|| Error::Row("a statement returned no row".to_owned()))?;
        for (index, &model) in read.models.iter().enumerate() {
            let at = index * META_COLUMNS;
            let position: Option<i64> = first.try_get(at).map_err(Error::Statement)?;
            let incarnation: Option<i32> = first.try_get(at + 1).map_err(Error::Statement)?;
            let parked: bool = first.try_get(at + 2).map_err(Error::Statement)?;
            let checkpoint = Checkpoint::stored(incarnation.unwrap_or(0), position.unwrap_or(0));
            standing.push(Standing {
                model,
                checkpoint,
                parked,
            });
        }
        Ok(Self {
            standing,
            rows,
            meta,
            extras: read.extras,
        })
    }

    /// The extra expression at `index`.
    pub(crate) fn extra<T>(&self, index: usize) -> Result<T, Error>
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + Type<Postgres>,
    {
        self.rows[0].try_get(self.meta + index).map_err(Error::Statement)
    }

    /// The page's rows, with the place of their first column, which is never null in a row: that
    /// tells the outer join's empty row apart.
    pub(crate) fn page(&self) -> Result<impl Iterator<Item = (&PgRow, usize)>, Error> {
        let from = self.meta + self.extras;
        let empty = {
            let first = self.rows[0].try_get_raw(from).map_err(Error::Statement)?;
            sqlx::ValueRef::is_null(&first)
        };
        Ok(self.rows.iter().skip(usize::from(empty)).map(move |row| (row, from)))
    }
}

/// What [`Rows`] needs to know of the [`Read`] that produced it.
pub(crate) struct ReadShape {
    models: Vec<ReadModel>,
    extras: usize,
}

impl Read {
    pub(crate) fn into_parts(self) -> (String, PgArguments, ReadShape) {
        (
            self.sql,
            self.arguments,
            ReadShape {
                models: self.models,
                extras: self.extras,
            },
        )
    }
}

/// Reads a column, naming it where it does not fit.
pub(crate) fn get<'r, T>(row: &'r PgRow, at: usize) -> Result<T, Error>
where
    T: sqlx::Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(at).map_err(|error| Error::Row(error.to_string()))
}
