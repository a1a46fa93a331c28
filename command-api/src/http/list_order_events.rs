//! `GET /v1/orders/{id}/events`

use axum::extract::State;
use axum::response::Response;
use domain::StreamId;
use domain::order::Order;
use service::auth::Scope;
use service::extract::Path;

use super::answer;
use super::caller::{Caller, order_in_path};
use crate::CommandApi;
use crate::error::{Error, Missing};
use crate::openapi::{NotFound, OrderPath, ReadHeaders, ReadRefusals};
use crate::wire::{EventList, Position};

/// Read an order's events.
///
/// Everything that happened to it, oldest first.
#[utoipa::path(
    get,
    path = "/v1/orders/{id}/events",
    tag = "Events",
    params(OrderPath, ReadHeaders),
    responses(
        (status = 200, description = "The order's events.", body = EventList, headers(
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
pub(crate) async fn list_order_events(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersRead)?;
    let stream = StreamId::order(caller.tenant(), order_in_path(&id)?);
    let order = api.executor.current::<Order>(&caller.principal, &stream).await?;
    let order = order.ok_or(Error::NotFound(Missing::Order))?;
    let list = EventList::of(&stream, &order.history);
    answer::of_read(&caller.headers, order.version(), order.position(), list)
}
