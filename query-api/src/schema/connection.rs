//! Relay connections: pages of lists, with cursors.

use async_graphql::{Error as FieldError, Object, OutputType, SimpleObject};

use super::catalogue::{Establishment, Product};
use super::order::Order;
use crate::cursor::{CursorKey, ListShape};
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::reads::page::{Page, Window};

/// A row that stands in a list.
pub(crate) trait Listed {
    type Key: CursorKey;

    fn list_key(&self) -> Self::Key;
}

/// A page of a list.
pub(crate) struct Connection<T> {
    shape: ListShape,
    edges: Vec<Edge<T>>,
    has_next: Option<bool>,
    has_previous: Option<bool>,
    total: Option<i64>,
}

/// A row of a list, with its place.
pub(crate) struct Edge<T> {
    shape: ListShape,
    node: T,
}

/// Where a page stands in its list.
#[derive(SimpleObject)]
pub(crate) struct PageInfo {
    /// Whether the list goes on after this page.
    has_next_page: bool,
    /// Whether the list has rows before this page.
    has_previous_page: bool,
    /// The cursor of the first row; null where the page is empty.
    start_cursor: Option<String>,
    /// The cursor of the last row; null where the page is empty.
    end_cursor: Option<String>,
}

impl<T> Connection<T> {
    pub(crate) fn new(shape: ListShape, page: Page<T>) -> Self {
        Self {
            shape,
            edges: page.rows.into_iter().map(|node| Edge { shape, node }).collect(),
            has_next: page.has_next,
            has_previous: page.has_previous,
            total: page.total,
        }
    }
}

/// One page of a list. Pass `pageInfo.endCursor` as `after` for the next page, or
/// `pageInfo.startCursor` as `before` for the one before it, with the same other arguments.
#[Object(
    concrete(name = "OrderConnection", params(Order)),
    concrete(name = "ProductConnection", params(Product)),
    concrete(name = "EstablishmentConnection", params(Establishment))
)]
impl<T> Connection<T>
where
    T: OutputType + Listed,
    Edge<T>: OutputType,
{
    /// The rows of this page with their cursors.
    async fn edges(&self) -> &[Edge<T>] {
        &self.edges
    }

    /// The rows of this page.
    async fn nodes(&self) -> Vec<&T> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// Where this page stands in the list.
    async fn page_info(&self) -> PageInfo {
        let cursor = |edge: &Edge<T>| self.shape.cursor(&edge.node.list_key());
        PageInfo {
            // Read whenever they are selected; see `ListSelection`.
            has_next_page: self.has_next.unwrap_or_default(),
            has_previous_page: self.has_previous.unwrap_or_default(),
            start_cursor: self.edges.first().map(cursor),
            end_cursor: self.edges.last().map(cursor),
        }
    }

    /// Rows in the whole list. Counted only when asked for, by reading all of them: prefer
    /// `pageInfo` where that will do.
    async fn total_count(&self) -> Result<i32, FieldError> {
        i32::try_from(self.total.unwrap_or_default())
            .map_err(|_| Error::bad_input("The list has more rows than an Int counts.").for_client())
    }
}

/// A row and its place in the list.
#[Object(
    concrete(name = "OrderEdge", params(Order)),
    concrete(name = "ProductEdge", params(Product)),
    concrete(name = "EstablishmentEdge", params(Establishment))
)]
impl<T> Edge<T>
where
    T: OutputType + Listed,
{
    /// The row's place, for `after` and `before`. Good for this list with these arguments only.
    async fn cursor(&self) -> String {
        self.shape.cursor(&self.node.list_key())
    }

    /// The row.
    async fn node(&self) -> &T {
        &self.node
    }
}

/// The paging arguments of a connection, as given.
pub(crate) struct PageArguments {
    pub(crate) first: Option<i32>,
    pub(crate) after: Option<String>,
    pub(crate) last: Option<i32>,
    pub(crate) before: Option<String>,
}

impl PageArguments {
    /// Which part of the list they ask for: forward from the start unless `last` or `before` says
    /// backward. Mixing directions is refused rather than guessed at.
    pub(crate) fn window<K: CursorKey>(self, shape: &ListShape, limits: &Limits) -> Result<Window<K>, Error> {
        let Self {
            first,
            after,
            last,
            before,
        } = self;
        let backward = last.is_some() || before.is_some();
        if backward && (first.is_some() || after.is_some()) {
            return Err(Error::bad_input(
                "Page forward with `first` and `after`, or backward with `last` and `before`; not both at once.",
            ));
        }
        let key = |cursor: Option<String>| cursor.map(|cursor| shape.key(&cursor)).transpose();
        Ok(if backward {
            Window::Last {
                size: size("last", last, limits)?,
                before: key(before)?,
            }
        } else {
            Window::First {
                size: size("first", first, limits)?,
                after: key(after)?,
            }
        })
    }
}

fn size(argument: &str, asked: Option<i32>, limits: &Limits) -> Result<u32, Error> {
    let Some(asked) = asked else {
        return Ok(limits.page_size);
    };
    u32::try_from(asked)
        .ok()
        .filter(|size| (1..=limits.page_size_max).contains(size))
        .ok_or_else(|| {
            Error::refused(
                Code::BadUserInput,
                format!(
                    "`{argument}` must be from 1 to {}; this page would have {asked} rows.",
                    limits.page_size_max
                ),
            )
        })
}
