//! `POST /v1/orders/quote`

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use service::auth::Scope;

use super::caller::Caller;
use crate::CommandApi;
use crate::error::Error;
use crate::openapi::{CommandRefusals, PositionHeader};
use crate::ordering::WantedOrder;
use crate::wire::{JsonBody, PlaceOrderRequest, QuoteView};

/// Price an order without placing it.
///
/// Takes what placing it takes and refuses what placing it would refuse; nothing is stored. A quote
/// is no promise: the order is priced anew when it is placed.
#[utoipa::path(
    post,
    path = "/v1/orders/quote",
    tag = "Orders",
    params(PositionHeader),
    request_body = PlaceOrderRequest,
    responses(
        (status = 200, description = "The order as it would be priced now.", body = QuoteView),
        CommandRefusals,
    ),
    security(("bearer" = ["orders:write"])),
)]
pub(crate) async fn quote_order(
    State(api): State<CommandApi>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersWrite)?;
    let (request, fingerprint) = body.parse::<PlaceOrderRequest>()?;
    let wanted = WantedOrder::read(&caller.principal, request, None, fingerprint)?;
    let created = wanted.quote(&api, caller.tenant(), caller.read()?).await?;
    let fresh = [(header::CACHE_CONTROL, "no-store")];
    Ok((fresh, Json(QuoteView::of(&created))).into_response())
}
