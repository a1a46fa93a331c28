//! `POST /v1/products/{id}/availability`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::StreamId;
use domain::product::{Product, ProductCommand};
use service::auth::Scope;
use service::extract::Path;

use super::answer;
use super::caller::{Caller, product_in_path};
use crate::CommandApi;
use crate::call::{Call, Meets, Operation};
use crate::error::{Error, Missing};
use crate::openapi::{CommandRefusals, ConditionalHeaders, NotFound, ProductPath, Stale};
use crate::wire::{JsonBody, Position, ProductView, SetAvailability};

/// Put a product on or off sale.
///
/// Orders placed before are not touched.
#[utoipa::path(
    post,
    path = "/v1/products/{id}/availability",
    tag = "Catalogue",
    params(ProductPath, ConditionalHeaders),
    request_body = SetAvailability,
    responses(
        (status = 200, description = "The product, as the change left it.", body = ProductView, headers(
            ("ETag" = String, description = "The product's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this change."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        CommandRefusals,
        NotFound,
        Stale,
    ),
    security(("bearer" = ["catalog:write"])),
)]
pub(crate) async fn set_product_availability(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::CatalogWrite)?;
    let product_id = product_in_path(&id)?;
    let (request, fingerprint) = body.parse::<SetAvailability>()?;
    let stream = StreamId::product(caller.tenant(), &product_id);
    let call = Call::of(
        &caller,
        Operation::SetProductAvailability,
        stream,
        Meets::Existing(Missing::Product),
        fingerprint,
    )?;
    let command = ProductCommand::ChangeAvailability {
        product_id,
        available: request.available,
    };
    let done = api.executor.execute::<Product>(&call, Ok(command)).await?;
    api.catalogue.learn_product(&call.stream, &done);
    answer::of_command(StatusCode::OK, &done, ProductView::of(&done.aggregate, done.version()))
}
