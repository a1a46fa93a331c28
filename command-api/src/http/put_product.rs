//! `PUT /v1/products/{id}`

use axum::extract::State;
use axum::response::Response;
use domain::product::{Product, ProductCommand, ProductDefined};
use domain::{ProductId, StreamId, TenantId};
use service::auth::{Principal, Scope};
use service::extract::Path;
use service::problem::Problem;

use super::answer;
use super::caller::{Caller, new_id};
use crate::CommandApi;
use crate::call::{Call, FiledUnder, Meets, Operation};
use crate::catalogue::{Catalogue, Read};
use crate::error::Error;
use crate::openapi::{CatalogueHeaders, CommandRefusals, ProductPath, Stale};
use crate::wire::{JsonBody, Position, ProductView, PutProduct};

/// Add a product to the catalogue, or define it anew.
///
/// The body is the whole definition, except for availability, which stays as it is. Orders placed
/// before keep the name and price they were placed at.
#[utoipa::path(
    put,
    path = "/v1/products/{id}",
    tag = "Catalogue",
    params(ProductPath, CatalogueHeaders),
    request_body = PutProduct,
    responses(
        (status = 200, description = "The product was defined anew.", body = ProductView, headers(
            ("ETag" = String, description = "The product's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this change."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        (status = 201, description = "The product was added.", body = ProductView, headers(
            ("ETag" = String, description = "The product's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this change."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        CommandRefusals,
        Stale,
    ),
    security(("bearer" = ["catalog:write"])),
)]
pub(crate) async fn put_product(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::CatalogWrite)?;
    let id: ProductId = new_id(&id)?;
    let (request, fingerprint) = body.parse::<PutProduct>()?;
    let definition = request.into_domain(id.clone())?;
    may_define(&caller.principal, &definition)?;
    let stream = StreamId::product(caller.tenant(), &id);
    let call = Call {
        filed_under: FiledUnder::Stated(definition.establishment_id.clone()),
        ..Call::of(&caller, Operation::PutProduct, stream, Meets::Whatever, fingerprint)?
    };
    let command = sold_there(&api.catalogue, caller.tenant(), &definition)
        .await
        .map(|()| ProductCommand::Define(Box::new(definition)));
    let done = api.executor.execute::<Product>(&call, command).await?;
    api.catalogue.learn_product(&call.stream, &done);
    answer::of_definition(&done, ProductView::of(&done.aggregate, done.version()))
}

/// A product sold everywhere is for a token that reaches everywhere.
fn may_define(principal: &Principal, definition: &ProductDefined) -> Result<(), Problem> {
    match &definition.establishment_id {
        Some(id) => principal.require_establishment(id),
        None => super::caller::require_all_establishments(principal),
    }
}

/// An establishment's product is priced in its currency. Judged by the log: definitions are rare,
/// and a wrong one would be found only by the guests.
async fn sold_there(catalogue: &Catalogue, tenant: &TenantId, definition: &ProductDefined) -> Result<(), Error> {
    let Some(id) = &definition.establishment_id else {
        return Ok(());
    };
    let establishment = catalogue.establishment(tenant, id, Read::Log).await?;
    let establishment = establishment
        .aggregate
        .state()
        .ok_or_else(|| Error::UnknownEstablishment(id.clone()))?;
    if definition.price.currency != establishment.currency {
        return Err(Error::CurrencyMismatch {
            found: definition.price.currency,
            expected: establishment.currency,
        });
    }
    Ok(())
}
