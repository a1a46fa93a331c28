//! `GET /v1/orders/{id}`

use axum::extract::State;
use axum::response::Response;
use domain::StreamId;
use domain::order::Order;
use service::auth::Scope;
use service::extract::{Path, Query};
use service::problem::Problem;

use super::answer;
use super::caller::{Caller, order_in_path};
use crate::CommandApi;
use crate::error::{Error, Missing};
use crate::history::{self, Moment};
use crate::openapi::{HistoryQuery, NotFound, OrderPath, ReadHeaders, ReadRefusals};
use crate::wire::{OrderView, Position};

/// Read an order.
///
/// Comes from the log itself, so it is always current; or, with `version` or `as_of`, as the order
/// stood then.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}",
    tag = "Orders",
    params(OrderPath, HistoryQuery, ReadHeaders),
    responses(
        (status = 200, description = "The order.", body = OrderView, headers(
            ("ETag" = String, description = "The order's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must be no older than this one."),
        )),
        (status = 304, description = "The reader's copy is current.", headers(
            ("ETag" = String, description = "The order's version."),
        )),
        ReadRefusals,
        NotFound,
    ),
    security(("bearer" = ["orders:read"])),
)]
pub(crate) async fn get_order(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<HistoryQuery>, Problem>,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersRead)?;
    let Query(query) = query?;
    let moment = Moment::of(&query)?;
    let stream = StreamId::order(caller.tenant(), order_in_path(&id)?);
    let order = api.executor.current::<Order>(&caller.principal, &stream).await?;
    let order = order.ok_or(Error::NotFound(Missing::Order))?;
    let order = match moment {
        Some(moment) => history::at(&order, moment, Missing::Order)?,
        None => order,
    };
    let view = OrderView::of(&order.aggregate, &order.history);
    answer::of_read(&caller.headers, order.version(), order.position(), view)
}
