//! The root of the schema.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Interface, Object, Result};
use domain::{BusinessDate, EstablishmentId, OrderId, ProductId, Sequence};

use super::catalogue::{Establishment, Product};
use super::connection::{Connection, PageArguments};
use super::enums::OrderStatus;
use super::order::Order;
use super::sales::DailySales;
use super::scalars::{Date, DateTime};
use crate::error::Error;
use crate::history::{History, Moment};
use crate::id::{self, Kind};
use crate::limits::Limits;
use crate::plan::{Columns, ListSelection, OrderSelection, list_columns};
use crate::reads::order_row::OrderRow;
use crate::reads::orders::OrderList;
use crate::reads::page::Page;
use crate::reads::products::ProductList;
use crate::reads::{daily_sales, establishments, orders, products, timeline};
use crate::session::Session;

/// The longest text that is searched for, in characters.
const MAX_SEARCH_LEN: usize = 200;

/// An object that `node` finds again by its global id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Global id."))]
#[expect(clippy::large_enum_variant, reason = "one for each `node` field, and moved once")]
pub(crate) enum Node {
    Order(Order),
    Product(Product),
    Establishment(Establishment),
}

/// Which of an establishment's orders. Conditions add up.
#[derive(InputObject)]
pub(crate) struct OrderFilter {
    /// Orders that stand at any of these; all where empty or absent.
    status: Option<Vec<OrderStatus>>,
    /// Placed at this time or later.
    from: Option<DateTime>,
    /// Placed before this time.
    to: Option<DateTime>,
    /// Words in the reference, the customer's name, the note or the items' names. All must occur;
    /// `"quoted words"` side by side, `or` between alternatives, `-` before a word that must not.
    text: Option<String>,
}

/// Which products. Conditions add up.
#[derive(InputObject)]
pub(crate) struct ProductFilter {
    /// Only those that can, or cannot, be ordered.
    available: Option<bool>,
    /// Only those of this category, spelt exactly so.
    category: Option<String>,
}

pub(crate) struct Query;

/// Everything that can be read. `id` fields are global ids and `key` fields REST ids; arguments of
/// type `ID` take either, but for `node`. A token limited to some establishments sees those only.
#[Object]
impl Query {
    /// The object of this global id; null where there is none, or none that the token may see.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A global id: the `id` field of an earlier answer.")] id: ID,
    ) -> Result<Option<Node>> {
        let session = Session::of(ctx)?;
        session.answer(node(session, ctx, &id).await).await
    }

    /// One order; null where there is none, or none that the token may see. With `atVersion` or
    /// `asOf` as it stood then, its timeline included: read from the log, not from a read model.
    async fn order(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Global id, or the REST id (a UUID).")] id: ID,
        #[graphql(desc = "As its event of this sequence left it; null where it never had that version.")]
        at_version: Option<i32>,
        #[graphql(
            desc = "As it was once everything recorded up to this time had happened; null before it was placed."
        )]
        as_of: Option<DateTime>,
    ) -> Result<Option<Order>> {
        let session = Session::of(ctx)?;
        if at_version.is_some() || as_of.is_some() {
            let past = past_order(session, ctx.data_unchecked::<History>(), &id, at_version, as_of);
            return session.answer(past.await).await;
        }
        let selection = OrderSelection::of(&[ctx.look_ahead()]);
        let order = async {
            let row = orders::by_id(session, id::key::<OrderId>(Kind::Order, &id)?, &selection.columns).await?;
            with_timelines(session, row, &selection).await
        };
        session.answer(order.await.map(first)).await
    }

    /// The order that an establishment called out as this number on a business day; null where
    /// there is none.
    async fn order_by_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The establishment: global or REST id.")] establishment_id: ID,
        #[graphql(desc = "Business date, on the establishment's calendar.")] date: Date,
        #[graphql(desc = "The running number of that day.")] number: i32,
    ) -> Result<Option<Order>> {
        let session = Session::of(ctx)?;
        let selection = OrderSelection::of(&[ctx.look_ahead()]);
        let order = async {
            let establishment = id::key(Kind::Establishment, &establishment_id)?;
            let number = i64::from(number);
            let row = orders::by_number(session, &establishment, date.0, number, &selection.columns).await?;
            with_timelines(session, row, &selection).await
        };
        session.answer(order.await.map(first)).await
    }

    /// An establishment's orders, newest first (by `placedAt`, then by key).
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The establishment: global or REST id.")] establishment_id: ID,
        #[graphql(desc = "Which of them.")] filter: Option<OrderFilter>,
        #[graphql(desc = "Rows of a page going forward, 1 to 100; 20 where neither it nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Start after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows of a page going backward from the end, or from `before`; 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Order>> {
        let session = Session::of(ctx)?;
        let look = ctx.look_ahead();
        let selection = OrderSelection::of_list(&look);
        let wanted = ListSelection::of(&look);
        let page = PageArguments {
            first,
            after,
            last,
            before,
        };
        let answer = async {
            let list = order_list(&establishment_id, filter)?;
            let shape = list.shape(session);
            let window = page.window(&shape, ctx.data_unchecked::<Arc<Limits>>())?;
            let page = orders::page(session, &list, &window, &selection.columns, wanted).await?;
            let Page {
                rows,
                has_next,
                has_previous,
                total,
            } = page;
            let rows = with_timelines(session, rows, &selection).await?;
            Ok(Connection::new(
                shape,
                Page {
                    rows,
                    has_next,
                    has_previous,
                    total,
                },
            ))
        };
        session.answer(answer.await).await
    }

    /// An establishment's sales by business day, oldest first. Days without orders are left out.
    async fn daily_sales(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The establishment: global or REST id.")] establishment_id: ID,
        #[graphql(desc = "The first day.")] from: Date,
        #[graphql(desc = "The last day, at most 1100 days from the first.")] to: Date,
    ) -> Result<Vec<DailySales>> {
        let session = Session::of(ctx)?;
        let longest = ctx.data_unchecked::<Arc<Limits>>().days;
        let days = async {
            let establishment = id::key(Kind::Establishment, &establishment_id)?;
            check_days(from.0, to.0, longest)?;
            daily_sales::between(session, &establishment, from.0, to.0).await
        };
        session.answer(days.await).await?.iter().map(DailySales::of).collect()
    }

    /// What an establishment sells: its own products and those sold everywhere, by key.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn products(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The establishment: global or REST id.")] establishment_id: ID,
        #[graphql(desc = "Which of them.")] filter: Option<ProductFilter>,
        #[graphql(desc = "Rows of a page going forward, 1 to 100; 20 where neither it nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Start after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows of a page going backward from the end, or from `before`; 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Product>> {
        let session = Session::of(ctx)?;
        let look = ctx.look_ahead();
        let (columns, wanted) = (list_columns(&look), ListSelection::of(&look));
        let page = PageArguments {
            first,
            after,
            last,
            before,
        };
        let answer = async {
            let list = product_list(&establishment_id, filter)?;
            let shape = list.shape(session);
            let window = page.window(&shape, ctx.data_unchecked::<Arc<Limits>>())?;
            let page = products::page(session, &list, &window, &columns, wanted).await?;
            Ok(Connection::new(shape, page.map(Product)))
        };
        session.answer(answer.await).await
    }

    /// The tenant's establishments that the token may see, by key.
    async fn establishments(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows of a page going forward, 1 to 100; 20 where neither it nor `last` is given.")]
        first: Option<i32>,
        #[graphql(desc = "Start after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows of a page going backward from the end, or from `before`; 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Establishment>> {
        let session = Session::of(ctx)?;
        let look = ctx.look_ahead();
        let (columns, wanted) = (list_columns(&look), ListSelection::of(&look));
        let page = PageArguments {
            first,
            after,
            last,
            before,
        };
        let answer = async {
            let shape = establishments::shape(session);
            let window = page.window(&shape, ctx.data_unchecked::<Arc<Limits>>())?;
            let page = establishments::page(session, &window, &columns, wanted).await?;
            Ok(Connection::new(shape, page.map(Establishment)))
        };
        session.answer(answer.await).await
    }
}

async fn past_order(
    session: &Session,
    history: &History,
    id: &ID,
    at_version: Option<i32>,
    as_of: Option<DateTime>,
) -> Result<Option<Order>, Error> {
    let id = id::key::<OrderId>(Kind::Order, id)?;
    let moment = match (at_version, as_of) {
        (Some(version), None) if version >= 1 => Moment::Version(Sequence(version.into())),
        (None, Some(time)) => Moment::Time(time.0),
        (Some(_), None) => return Err(Error::bad_input("`atVersion` counts from 1.")),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Error::bad_input("Ask for `atVersion` or for `asOf`, not for both."));
        }
    };
    let past = history.order(session, id, moment).await?;
    Ok(past.map(|past| Order::new(past.row, past.timeline)))
}

async fn node(session: &Session, ctx: &Context<'_>, id: &ID) -> Result<Option<Node>, Error> {
    let (kind, key) = id::parse_global(id)?;
    let look = ctx.look_ahead();
    // A key that the type cannot have names nothing.
    match kind {
        Kind::Order => {
            let Ok(order) = key.parse::<OrderId>() else {
                return Ok(None);
            };
            let selection = OrderSelection::of(&[look]);
            let row = orders::by_id(session, order, &selection.columns).await?;
            Ok(first(with_timelines(session, row, &selection).await?).map(Node::Order))
        }
        Kind::Product => {
            let Ok(product) = key.parse::<ProductId>() else {
                return Ok(None);
            };
            let mut columns = Columns::default();
            columns.add_selected(&look);
            let row = products::by_id(session, &product, &columns).await?;
            Ok(row.map(|row| Node::Product(Product(row))))
        }
        Kind::Establishment => {
            let Ok(establishment) = key.parse::<EstablishmentId>() else {
                return Ok(None);
            };
            let mut columns = Columns::default();
            columns.add_selected(&look);
            let row = establishments::by_id(session, &establishment, &columns).await?;
            Ok(row.map(|row| Node::Establishment(Establishment(row))))
        }
        // Lines are read with their order; customers have no read model of their own.
        Kind::OrderItem | Kind::Customer => Ok(None),
    }
}

/// The orders of these rows; the timelines of all of them in one statement, where selected.
async fn with_timelines(
    session: &Session,
    rows: impl IntoIterator<Item = OrderRow>,
    selection: &OrderSelection,
) -> Result<Vec<Order>, Error> {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut timelines = match &selection.timeline {
        Some(columns) if !rows.is_empty() => {
            timeline::of_orders(session, rows.iter().map(|row| row.order_id).collect(), columns).await?
        }
        Some(_) | None => Default::default(),
    };
    let order = |row: OrderRow| {
        let timeline = timelines.remove(&row.order_id).unwrap_or_default();
        Order::new(row, timeline)
    };
    Ok(rows.into_iter().map(order).collect())
}

fn first(orders: Vec<Order>) -> Option<Order> {
    orders.into_iter().next()
}

fn order_list(establishment: &ID, filter: Option<OrderFilter>) -> Result<OrderList, Error> {
    let establishment = id::key(Kind::Establishment, establishment)?;
    let Some(filter) = filter else {
        return Ok(OrderList {
            establishment,
            status: Vec::new(),
            from: None,
            to: None,
            text: None,
        });
    };
    let mut status: Vec<domain::order::OrderStatus> =
        filter.status.unwrap_or_default().into_iter().map(Into::into).collect();
    status.sort_unstable();
    status.dedup();
    Ok(OrderList {
        establishment,
        status,
        from: filter.from.map(|time| time.0),
        to: filter.to.map(|time| time.0),
        text: filter.text.map(|text| search_text("filter.text", text)).transpose()?,
    })
}

fn product_list(establishment: &ID, filter: Option<ProductFilter>) -> Result<ProductList, Error> {
    let establishment = id::key(Kind::Establishment, establishment)?;
    let Some(filter) = filter else {
        return Ok(ProductList {
            establishment,
            available: None,
            category: None,
        });
    };
    let category = filter
        .category
        .map(|text| search_text("filter.category", text))
        .transpose()?;
    Ok(ProductList {
        establishment,
        available: filter.available,
        category,
    })
}

/// Text that can stand in a condition: PostgreSQL's cannot hold NUL.
fn search_text(argument: &str, text: String) -> Result<String, Error> {
    if text.trim().is_empty() || text.contains('\0') || text.chars().count() > MAX_SEARCH_LEN {
        return Err(Error::bad_input(format!(
            "`{argument}` must be 1 to {MAX_SEARCH_LEN} characters without U+0000."
        )));
    }
    Ok(text)
}

fn check_days(from: BusinessDate, to: BusinessDate, longest: u32) -> Result<(), Error> {
    if from > to {
        return Err(Error::bad_input("`from` must not be after `to`."));
    }
    if (to.0 - from.0).num_days() >= i64::from(longest) {
        return Err(Error::bad_input(format!(
            "`from` to `to` may span at most {longest} days."
        )));
    }
    Ok(())
}
