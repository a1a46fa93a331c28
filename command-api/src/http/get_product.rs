//! `GET /v1/products/{id}`

use axum::extract::State;
use axum::response::Response;
use domain::StreamId;
use domain::product::Product;
use service::auth::Scope;
use service::extract::Path;

use super::answer;
use super::caller::{Caller, product_in_path};
use crate::CommandApi;
use crate::error::{Error, Missing};
use crate::openapi::{NotFound, ProductPath, ReadHeaders, ReadRefusals};
use crate::wire::{Position, ProductView};

/// Read a product.
#[utoipa::path(
    get,
    path = "/v1/products/{id}",
    tag = "Catalogue",
    params(ProductPath, ReadHeaders),
    responses(
        (status = 200, description = "The product.", body = ProductView, headers(
            ("ETag" = String, description = "The product's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must be no older than this one."),
        )),
        (status = 304, description = "The reader's copy is current.", headers(
            ("ETag" = String, description = "The product's version."),
        )),
        ReadRefusals,
        NotFound,
    ),
    security(("bearer" = ["orders:read"])),
)]
pub(crate) async fn get_product(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersRead)?;
    let stream = StreamId::product(caller.tenant(), &product_in_path(&id)?);
    let product = api.executor.current::<Product>(&caller.principal, &stream).await?;
    let product = product.ok_or(Error::NotFound(Missing::Product))?;
    let view = ProductView::of(&product.aggregate, product.version());
    answer::of_read(&caller.headers, product.version(), product.position(), view)
}
