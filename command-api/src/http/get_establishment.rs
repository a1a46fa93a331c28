//! `GET /v1/establishments/{id}`

use axum::extract::State;
use axum::response::Response;
use domain::StreamId;
use domain::establishment::Establishment;
use service::auth::Scope;
use service::extract::Path;

use super::answer;
use super::caller::{Caller, establishment_in_path};
use crate::CommandApi;
use crate::error::{Error, Missing};
use crate::openapi::{EstablishmentPath, NotFound, ReadHeaders, ReadRefusals};
use crate::wire::{EstablishmentView, Position};

/// Read an establishment.
#[utoipa::path(
    get,
    path = "/v1/establishments/{id}",
    tag = "Catalogue",
    params(EstablishmentPath, ReadHeaders),
    responses(
        (status = 200, description = "The establishment.", body = EstablishmentView, headers(
            ("ETag" = String, description = "The establishment's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must be no older than this one."),
        )),
        (status = 304, description = "The reader's copy is current.", headers(
            ("ETag" = String, description = "The establishment's version."),
        )),
        ReadRefusals,
        NotFound,
    ),
    security(("bearer" = ["orders:read"])),
)]
pub(crate) async fn get_establishment(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersRead)?;
    let stream = StreamId::establishment(caller.tenant(), &establishment_in_path(&id)?);
    let found = api
        .executor
        .current::<Establishment>(&caller.principal, &stream)
        .await?;
    let found = found.ok_or(Error::NotFound(Missing::Establishment))?;
    let view = EstablishmentView::of(&found.aggregate, found.version());
    answer::of_read(&caller.headers, found.version(), found.position(), view)
}
