//! The routes: one file per command or read, one line each here.
//!
//! A handler asks for rights first, then reads the body, then leaves the rest to
//! [`crate::execute`]. What several routes share of placing orders stands in [`crate::ordering`].

mod answer;
pub(crate) mod caller;
mod change_order_status;
mod docs;
mod events_query;
mod get_establishment;
mod get_order;
mod get_product;
pub(crate) mod headers;
mod list_events;
mod list_order_events;
mod place_order;
mod place_orders;
mod put_establishment;
mod put_product;
mod quote_order;
mod set_availability;

use axum::Router;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::CommandApi;
use crate::openapi::Document;

fn routes() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(place_order::place_order))
        .routes(routes!(place_orders::place_orders))
        .routes(routes!(quote_order::quote_order))
        .routes(routes!(get_order::get_order))
        .routes(routes!(list_order_events::list_order_events))
        .routes(routes!(change_order_status::change_order_status))
        .routes(routes!(
            put_establishment::put_establishment,
            get_establishment::get_establishment
        ))
        .routes(routes!(put_product::put_product, get_product::get_product))
        .routes(routes!(set_availability::set_product_availability))
        .routes(routes!(list_events::list_events))
}

/// Every route of the command API, its document and the pages that show it.
pub(crate) fn router(api: CommandApi) -> Router {
    let (routes, document) = routes().split_for_parts();
    routes.with_state(api).merge(docs::router(document))
}

/// The document that describes the routes.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}
