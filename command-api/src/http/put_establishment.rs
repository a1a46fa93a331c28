//! `PUT /v1/establishments/{id}`

use axum::extract::State;
use axum::response::Response;
use domain::establishment::{Establishment, EstablishmentCommand};
use domain::{EstablishmentId, StreamId};
use service::auth::Scope;
use service::extract::Path;

use super::answer;
use super::caller::{Caller, new_id};
use crate::CommandApi;
use crate::call::{Call, FiledUnder, Meets, Operation};
use crate::error::Error;
use crate::openapi::{CatalogueHeaders, CommandRefusals, EstablishmentPath, Stale};
use crate::wire::{EstablishmentView, JsonBody, Position, PutEstablishment};

/// Open an establishment, or define it anew.
///
/// The body is the whole definition. The currency never changes: sums of past days would mix.
#[utoipa::path(
    put,
    path = "/v1/establishments/{id}",
    tag = "Catalogue",
    params(EstablishmentPath, CatalogueHeaders),
    request_body = PutEstablishment,
    responses(
        (status = 200, description = "The establishment was defined anew.", body = EstablishmentView, headers(
            ("ETag" = String, description = "The establishment's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this change."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        (status = 201, description = "The establishment was opened.", body = EstablishmentView, headers(
            ("ETag" = String, description = "The establishment's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this change."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        CommandRefusals,
        Stale,
    ),
    security(("bearer" = ["catalog:write"])),
)]
pub(crate) async fn put_establishment(
    State(api): State<CommandApi>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::CatalogWrite)?;
    let id: EstablishmentId = new_id(&id)?;
    caller.principal.require_establishment(&id)?;
    let (request, fingerprint) = body.parse::<PutEstablishment>()?;
    let definition = request.into_domain(id.clone())?;
    let stream = StreamId::establishment(caller.tenant(), &id);
    let call = Call {
        filed_under: FiledUnder::Stated(Some(id)),
        ..Call::of(
            &caller,
            Operation::PutEstablishment,
            stream,
            Meets::Whatever,
            fingerprint,
        )?
    };
    let command = EstablishmentCommand::Define(Box::new(definition));
    let done = api.executor.execute::<Establishment>(&call, Ok(command)).await?;
    api.catalogue.learn_establishment(&call.stream, &done);
    answer::of_definition(&done, EstablishmentView::of(&done.aggregate, done.version()))
}
