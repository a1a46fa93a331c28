//! What is to be read of orders.

use async_graphql::Lookahead;

use super::{Columns, EntryColumn, OrderColumn};

/// The columns of orders, and of their timelines where those are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderSelection {
    pub(crate) columns: Columns<OrderColumn>,
    pub(crate) timeline: Option<Columns<EntryColumn>>,
}

impl OrderSelection {
    /// `orders` are the places in the query that select an order's fields.
    pub(crate) fn of(orders: &[Lookahead<'_>]) -> Self {
        let mut selection = Self {
            columns: Columns::default(),
            timeline: None,
        };
        for order in orders {
            selection.columns.add_selected(order);
            let timeline = order.field("timeline");
            if timeline.exists() {
                selection.timeline.get_or_insert_default().add_selected(&timeline);
            }
        }
        selection
    }

    /// Of a connection's nodes.
    pub(crate) fn of_list(list: &Lookahead<'_>) -> Self {
        Self::of(&[list.field("edges").field("node"), list.field("nodes")])
    }
}
