//! From what a query selects to what SQL must read.
//!
//! Each read takes a typed selection and knows nothing of GraphQL documents. Today a selection is
//! made per request, by look-ahead; a cache of planned operations slots in here, handing the same
//! types to the same reads.

mod columns;
mod order;

use async_graphql::{Lookahead, SelectionField};

pub(crate) use columns::{Column, Columns, EntryColumn, EstablishmentColumn, OrderColumn, ProductColumn};
pub(crate) use order::OrderSelection;

use crate::read_model::ReadModel;

/// The read models that a root field touches, at most; the timeline counts on its own.
pub(crate) fn models_of(root_field: &str) -> &'static [ReadModel] {
    match root_field {
        "order" | "orderByNumber" | "orders" => &[ReadModel::Orders],
        "dailySales" => &[ReadModel::DailySales],
        "products" => &[ReadModel::Products],
        "establishments" => &[ReadModel::Establishments],
        "node" => &[ReadModel::Orders, ReadModel::Products, ReadModel::Establishments],
        _ => &[],
    }
}

/// The arguments that ask for an order's past, which the log answers.
pub(crate) const HISTORY_ARGUMENTS: [&str; 2] = ["atVersion", "asOf"];

/// What a connection is asked for beside its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListSelection {
    pub(crate) total_count: bool,
    pub(crate) has_next: bool,
    pub(crate) has_previous: bool,
}

impl ListSelection {
    pub(crate) fn of(list: &Lookahead<'_>) -> Self {
        let page_info = list.field("pageInfo");
        Self {
            total_count: list.field("totalCount").exists(),
            has_next: page_info.field("hasNextPage").exists(),
            has_previous: page_info.field("hasPreviousPage").exists(),
        }
    }
}

/// The columns of the rows of a connection, whichever way its nodes are selected.
pub(crate) fn list_columns<C: Column>(list: &Lookahead<'_>) -> Columns<C> {
    let mut columns = Columns::default();
    columns.add_selected(&list.field("edges").field("node"));
    columns.add_selected(&list.field("nodes"));
    columns
}

/// The names of the fields selected right below `parent`, fragments resolved.
pub(crate) fn selected<'a>(parent: &Lookahead<'a>) -> Vec<SelectionField<'a>> {
    parent
        .selection_fields()
        .into_iter()
        .flat_map(|field| field.selection_set().collect::<Vec<_>>())
        .collect()
}
