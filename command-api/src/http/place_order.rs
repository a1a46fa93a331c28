//! `POST /v1/orders`

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use service::auth::Scope;

use super::answer;
use super::caller::Caller;
use super::headers;
use crate::CommandApi;
use crate::error::Error;
use crate::openapi::{CommandHeaders, CommandRefusals, Conflict};
use crate::ordering::{WantedOrder, location};
use crate::wire::{JsonBody, OrderView, PlaceOrderRequest, Position};

/// Place an order.
///
/// Prices come from the tenant's catalogue; an item may instead carry a name and price of its own
/// (scope `catalog:write`). Send the order's `id`, or an `Idempotency-Key`, and the request can be
/// repeated safely: it is answered as it was the first time, with `Idempotent-Replayed: true`.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "Orders",
    params(CommandHeaders),
    request_body = PlaceOrderRequest,
    responses(
        (status = 201, description = "The order was placed.", body = OrderView, headers(
            ("Location" = String, description = "Where the order is read."),
            ("ETag" = String, description = "The order's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this order."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        CommandRefusals,
        Conflict,
    ),
    security(("bearer" = ["orders:write"])),
)]
pub(crate) async fn place_order(
    State(api): State<CommandApi>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersWrite)?;
    let key = headers::idempotency_key(&caller.headers)?;
    let (request, fingerprint) = body.parse::<PlaceOrderRequest>()?;
    let wanted = WantedOrder::read(&caller.principal, request, key, fingerprint)?;
    let done = wanted.place(&api, &caller, caller.read()?).await?;

    let view = OrderView::of(&done.aggregate, &done.history);
    let mut response = answer::of_command(StatusCode::CREATED, &done, view)?;
    let location = HeaderValue::try_from(location(wanted.order_id()));
    response
        .headers_mut()
        .extend(location.ok().map(|value| (header::LOCATION, value)));
    Ok(response)
}
