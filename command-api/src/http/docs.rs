//! `/openapi.json`, `/docs` (Swagger UI, served from the binary: no network needed) and
//! `/docs/errors`, which the `type` of every problem document points at.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

const ERRORS: &str = include_str!("../../../docs/errors.md");

pub(crate) fn router(document: OpenApi) -> Router {
    let errors = || async { ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], ERRORS) };
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", document)).route("/docs/errors", get(errors))
}
