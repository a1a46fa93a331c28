//! `POST /v1/orders/{id}/status`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::StreamId;
use domain::order::{ChangeStatus, Order, OrderCommand};
use service::auth::Scope;
use service::extract::Path;

use super::answer;
use super::caller::{Caller, order_in_path};
use crate::CommandApi;
use crate::call::{Call, Meets, Operation};
use crate::error::{Error, Missing};
use crate::openapi::{CommandRefusals, ConditionalHeaders, Conflict, NotFound, OrderPath, Stale};
use crate::wire::{ChangeStatusRequest, JsonBody, OrderView, Position};

/// Change an order's status.
///
/// Send `If-Match` with the version last seen to change nothing that someone else has changed
/// meanwhile.
#[utoipa::path(
    post,
    path = "/v1/orders/{id}/status",
    tag = "Orders",
    params(OrderPath, ConditionalHeaders),
    request_body = ChangeStatusRequest,
    responses(
        (status = 200, description = "The order, as the change left it.", body = OrderView, headers(
            ("ETag" = String, description = "The order's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this change."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        CommandRefusals,
        NotFound,
        Conflict,
        Stale,
    ),
    security(("bearer" = ["orders:write"])),
)]
pub(crate) async fn change_order_status(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersWrite)?;
    let stream = StreamId::order(caller.tenant(), order_in_path(&id)?);
    let (request, fingerprint) = body.parse::<ChangeStatusRequest>()?;
    let call = Call::of(
        &caller,
        Operation::ChangeOrderStatus,
        stream,
        Meets::Existing(Missing::Order),
        fingerprint,
    )?;
    let command = OrderCommand::ChangeStatus(ChangeStatus {
        to: request.status,
        reason: request.reason,
        at: call.occurred_at,
    });
    let done = api.executor.execute::<Order>(&call, Ok(command)).await?;
    answer::of_command(StatusCode::OK, &done, OrderView::of(&done.aggregate, &done.history))
}
