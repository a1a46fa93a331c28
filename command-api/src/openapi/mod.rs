//! The OpenAPI 3.1 document. It is generated from the routes themselves, committed as
//! `openapi.json`, and a test holds the two together.

pub(crate) mod examples;
mod headers;
mod refusals;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

pub(crate) use headers::{
    CatalogueHeaders, CommandHeaders, ConditionalHeaders, EstablishmentPath, EventsQuery, HistoryQuery, OrderPath,
    PositionHeader, ProductPath, ReadHeaders, StreamHeaders,
};
pub(crate) use refusals::{CommandRefusals, Conflict, NotFound, ProblemDocument, ReadRefusals, Stale};

use crate::wire::{EventTypeName, EventView};

/// What no single route says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Comanda command API",
        description = "Orders in, events out. Every answer to a command carries `Comanda-Position`: send it with a \
                       read that must include what the command did. Errors are problem documents (RFC 9457) with a \
                       stable `code`.",
    ),
    tags(
        (name = "Orders", description = "Placing orders and moving them through their statuses."),
        (name = "Catalogue", description = "Establishments and products."),
        (name = "Events", description = "Everything that happened, as it was stored."),
    ),
    components(schemas(EventTypeName, EventView)),
    modifiers(&Shared),
)]
pub(crate) struct Document;

/// What the routes refer to.
struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "A token for one tenant; `comanda token` makes one for development.",
            ));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        refusals::add_to(components);
    }
}
