//! Keyset pages, in both directions.
//!
//! A page starts right after (or ends right before) a key, never at an offset: rows that come or go
//! elsewhere in the list neither repeat nor hide any, and the hundredth page costs what the first
//! does. One row more than asked for tells whether there is another page in the direction of
//! travel; whether there is one behind is asked of the index only when the query wants to know.

use crate::cursor::CursorKey;
use crate::error::Error;
use crate::plan::{Column, Columns, ListSelection};
use crate::read_model::Table;
use crate::session::Session;
use crate::sql::{Rows, Statement};

/// A list's sort key.
pub(crate) trait PageKey: CursorKey {
    /// Over the alias `page`.
    const ORDER: &'static str;
    const REVERSE: &'static str;

    /// Rows after this key in list order, `inclusive` of it or not.
    fn after(&self, statement: &mut Statement, inclusive: bool) -> Result<String, Error>;

    /// Rows before this key in list order, `inclusive` of it or not.
    fn before(&self, statement: &mut Statement, inclusive: bool) -> Result<String, Error>;
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Window<K> {
    First { size: u32, after: Option<K> },
    Last { size: u32, before: Option<K> },
}

/// Part of a list, in list order.
#[derive(Debug)]
pub(crate) struct Page<R> {
    pub(crate) rows: Vec<R>,
    /// These three only where they were selected.
    pub(crate) has_next: Option<bool>,
    pub(crate) has_previous: Option<bool>,
    pub(crate) total: Option<i64>,
}

impl<R> Page<R> {
    pub(crate) fn map<S>(self, map: impl FnMut(R) -> S) -> Page<S> {
        Page {
            rows: self.rows.into_iter().map(map).collect(),
            has_next: self.has_next,
            has_previous: self.has_previous,
            total: self.total,
        }
    }
}

/// What a page is read from: the rows of `table` that meet `condition`.
pub(crate) struct List<'a> {
    pub(crate) table: &'a Table,
    pub(crate) condition: &'a str,
}

/// Reads one page in one statement.
pub(crate) async fn read<K: PageKey, C: Column, R>(
    session: &Session,
    mut statement: Statement,
    list: &List<'_>,
    window: &Window<K>,
    columns: &Columns<C>,
    wanted: ListSelection,
    row: impl Fn(&sqlx::postgres::PgRow, usize) -> Result<R, Error>,
) -> Result<Page<R>, Error> {
    let List { table, condition } = list;
    let (size, order) = match window {
        Window::First { size, .. } => (*size, K::ORDER),
        Window::Last { size, .. } => (*size, K::REVERSE),
    };
    let (ahead_wanted, behind_wanted) = match window {
        Window::First { .. } => (wanted.has_next, wanted.has_previous),
        Window::Last { .. } => (wanted.has_previous, wanted.has_next),
    };
    let bound = bound(&mut statement, window)?;
    let behind = if behind_wanted {
        behind(&mut statement, window)?
    } else {
        None
    };
    let from = format!("FROM {} AS page WHERE {condition}", table.name);
    let mut extras = Vec::new();
    if wanted.total_count {
        extras.push(format!("(SELECT count(*) {from})"));
    }
    if let Some(behind) = &behind {
        extras.push(format!("EXISTS (SELECT 1 {from} AND {behind})"));
    }
    let bound = bound.map(|bound| format!(" AND {bound}")).unwrap_or_default();
    // A literal: page sizes are few, and the planner chooses better knowing it.
    let limit = size + u32::from(ahead_wanted);
    let page = format!(
        "SELECT {} {from}{bound} ORDER BY {order} LIMIT {limit}",
        columns.select()
    );
    let read = statement.read(&[table], &extras, &columns.names(), &page, order);
    let rows = session.fetch(read).await?;
    assemble(
        &rows,
        window,
        size,
        (ahead_wanted, behind_wanted, behind.is_some()),
        wanted.total_count,
        row,
    )
}

/// The rows that the page may consist of: those beyond its key.
fn bound<K: PageKey>(statement: &mut Statement, window: &Window<K>) -> Result<Option<String>, Error> {
    match window {
        Window::First { after: Some(key), .. } => key.after(statement, false).map(Some),
        Window::Last { before: Some(key), .. } => key.before(statement, false).map(Some),
        Window::First { after: None, .. } | Window::Last { before: None, .. } => Ok(None),
    }
}

/// The rows on the other side of the page's key, the key's own among them.
fn behind<K: PageKey>(statement: &mut Statement, window: &Window<K>) -> Result<Option<String>, Error> {
    match window {
        Window::First { after: Some(key), .. } => key.before(statement, true).map(Some),
        Window::Last { before: Some(key), .. } => key.after(statement, true).map(Some),
        Window::First { after: None, .. } | Window::Last { before: None, .. } => Ok(None),
    }
}

fn assemble<K, R>(
    rows: &Rows,
    window: &Window<K>,
    size: u32,
    (ahead_wanted, behind_wanted, behind_asked): (bool, bool, bool),
    total_asked: bool,
    row: impl Fn(&sqlx::postgres::PgRow, usize) -> Result<R, Error>,
) -> Result<Page<R>, Error> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let total = if total_asked { Some(rows.extra(0)?) } else { None };
    let behind = match (behind_wanted, behind_asked) {
        (true, true) => Some(rows.extra(usize::from(total_asked))?),
        // Without a key the page starts where the list does.
        (true, false) => Some(false),
        (false, _) => None,
    };
    let mut found = Vec::new();
    let mut ahead = false;
    for (index, (data, from)) in rows.page()?.enumerate() {
        if index == size {
            ahead = true;
            break;
        }
        found.push(row(data, from)?);
    }
    let ahead = ahead_wanted.then_some(ahead);
    Ok(match window {
        Window::First { .. } => Page {
            rows: found,
            has_next: ahead,
            has_previous: behind,
            total,
        },
        Window::Last { .. } => {
            found.reverse();
            Page {
                rows: found,
                has_next: behind,
                has_previous: ahead,
                total,
            }
        }
    })
}

/// Declares the key of a list that is sorted by one text column.
macro_rules! text_key {
    ($(#[$doc:meta])* $name:ident on $column:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);

        impl $crate::cursor::CursorKey for $name {
            fn to_bytes(&self) -> Vec<u8> {
                $crate::cursor::CursorKey::to_bytes(&self.0)
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                <String as $crate::cursor::CursorKey>::from_bytes(bytes).map(Self)
            }
        }

        impl $crate::reads::page::PageKey for $name {
            const ORDER: &'static str = concat!("page.", $column);
            const REVERSE: &'static str = concat!("page.", $column, " DESC");

            fn after(&self, statement: &mut $crate::sql::Statement, inclusive: bool) -> Result<String, Error> {
                let key = statement.bind(self.0.clone())?;
                Ok(format!(concat!("page.", $column, " {} {}"), if inclusive { ">=" } else { ">" }, key))
            }

            fn before(&self, statement: &mut $crate::sql::Statement, inclusive: bool) -> Result<String, Error> {
                let key = statement.bind(self.0.clone())?;
                Ok(format!(concat!("page.", $column, " {} {}"), if inclusive { "<=" } else { "<" }, key))
            }
        }
    };
}
pub(crate) use text_key;
