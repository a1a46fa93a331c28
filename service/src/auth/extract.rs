//! The principal of a request, as an axum extractor.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::{AuthError, Principal, Verifier};
use crate::http::RequestContext;
use crate::problem::Problem;

impl<S> FromRequestParts<S> for Principal
where
    Arc<Verifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = Arc::<Verifier>::from_ref(state)
            .authenticate(bearer_token(parts)?)
            .await?;
        if let Some(context) = parts.extensions.get::<RequestContext>() {
            context.set_tenant(principal.tenant().tenant());
        }
        Ok(principal)
    }
}

/// The token of the one `Authorization: Bearer …` header. Two such headers are refused: a proxy
/// and this process might each believe another one.
fn bearer_token(parts: &Parts) -> Result<&str, AuthError> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let header = headers.next().ok_or(AuthError::Missing)?;
    if headers.next().is_some() {
        return Err(AuthError::NotBearer);
    }
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(AuthError::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::NotBearer);
    }
    Ok(token.trim_start_matches(' '))
}
