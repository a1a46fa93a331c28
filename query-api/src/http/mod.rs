//! GraphQL over HTTP, written out here because what a GraphQL server answers with is part of its
//! contract: media types, status codes, `data` absent rather than null where nothing ran.
//!
//! Who says what:
//! - Whatever is wrong with the GraphQL request itself (JSON, parameters, document, variables,
//!   limits) is a GraphQL response with `errors` and no `data`. As `application/graphql-response+json`
//!   it comes with 400; as `application/json` with 200 where the request was well formed and 400
//!   where it was not.
//! - Whatever is wrong around it (token, rights, method, media type, size, the platform's state) is
//!   a problem document, as everywhere in Comanda.
//! - Only `application/json` bodies are taken: a page of another origin cannot send one without
//!   asking first, which forms and multipart bodies can.

mod accept;
mod answer;
mod explorer;
mod params;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body};
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use service::{Principal, Problem, Scope};

use crate::api::{Asked, QueryApi};
use crate::generation::{COMANDA_GENERATION, Chosen};
use crate::position;
use accept::{MediaType, Preference};
pub(crate) use params::Params;

/// Bodies beyond it are refused; a document and its variables need far less.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// The routes: `/graphql`, and the explorer page's parts below it where it is served.
pub fn router(api: QueryApi) -> Router {
    let graphql = get(graphql_get).post(graphql_post).fallback(other_method);
    let mut router = Router::new().route("/graphql", graphql);
    if api.serves_explorer() {
        router = router
            .route("/graphql/explorer.js", get(explorer::script).fallback(asset_method))
            .route("/graphql/explorer.css", get(explorer::style).fallback(asset_method));
    }
    router.with_state(api)
}

async fn graphql_get(State(api): State<QueryApi>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let preference = accept::preferred(&parts.headers);
    if preference == Some(Preference::Page) && api.serves_explorer() {
        return explorer::page();
    }
    let media = match as_media_type(preference) {
        Ok(media) => media,
        Err(problem) => return problem.into_response(),
    };
    let principal = match admit(&api, &mut parts).await {
        Ok(principal) => principal,
        Err(problem) => return problem.into_response(),
    };
    let params = Params::from_query(&parts.uri);
    respond(&api, principal, &parts, media, params).await
}

async fn graphql_post(State(api): State<QueryApi>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let checked = async {
        let media = as_media_type(accept::preferred(&parts.headers))?;
        let principal = admit(&api, &mut parts).await?;
        require_json(&parts.headers)?;
        Ok::<_, Problem>((media, principal, read(body).await?))
    };
    match checked.await {
        Ok((media, principal, bytes)) => respond(&api, principal, &parts, media, Params::from_json(&bytes)).await,
        Err(problem) => problem.into_response(),
    }
}

/// Who asks, and whether they may read at all.
async fn admit(api: &QueryApi, parts: &mut Parts) -> Result<Principal, Problem> {
    let principal = Principal::from_request_parts(parts, api).await?;
    principal.require(Scope::OrdersRead)?;
    Ok(principal)
}

async fn respond(
    api: &QueryApi,
    principal: Principal,
    parts: &Parts,
    media: MediaType,
    params: Result<Params, async_graphql::ServerError>,
) -> Response {
    let brought = match position::from_headers(&parts.headers, principal.tenant()) {
        Ok(brought) => brought,
        Err(problem) => return problem.into_response(),
    };
    let chosen = match Chosen::from_headers(&parts.headers, &principal) {
        Ok(chosen) => chosen,
        Err(problem) => return problem.into_response(),
    };
    let params = match params {
        Ok(params) => params,
        Err(error) => return answer::malformed(media, error),
    };
    let named = HeaderValue::try_from(chosen.to_string())
        .ok()
        .filter(|_| !chosen.is_empty());
    let asked = Asked {
        params,
        brought,
        chosen,
        may_write: parts.method == Method::POST,
    };
    match api.answer(principal, asked).await {
        Ok(answer) => {
            let mut response = answer::render(media, answer);
            response
                .headers_mut()
                .extend(named.map(|value| (COMANDA_GENERATION, value)));
            response
        }
        Err(problem) => problem.into_response(),
    }
}

fn as_media_type(preference: Option<Preference>) -> Result<MediaType, Problem> {
    match preference {
        Some(Preference::Json(media)) => Ok(media),
        Some(Preference::Page) | None => Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "Answers are application/graphql-response+json or application/json, in UTF-8; `Accept` allows neither.",
        )),
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|encoding| encoding == "identity");
    let json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(accept::is_json_utf8);
    if plain && json && headers.get_all(CONTENT_TYPE).iter().count() == 1 {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        service::problem::code::UNSUPPORTED_MEDIA_TYPE,
        "Send the request as `Content-Type: application/json` in UTF-8, not compressed.",
    )
    .with_header(http::header::ACCEPT, HeaderValue::from_static("application/json")))
}

async fn read(body: Body) -> Result<body::Bytes, Problem> {
    // Besides an oversized body only a broken connection fails here, and nobody reads that answer.
    body::to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| Problem::payload_too_large(MAX_BODY_BYTES))
}

async fn other_method() -> Response {
    Problem::method_not_allowed()
        .with_header(ALLOW, HeaderValue::from_static("GET, HEAD, POST"))
        .into_response()
}

async fn asset_method() -> Response {
    Problem::method_not_allowed()
        .with_header(ALLOW, HeaderValue::from_static("GET, HEAD"))
        .into_response()
}
