//! Who may use the operators' routes.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use service::Scope;
use service::auth::{Principal, Verifier};
use service::problem::Problem;

/// A caller whose token was accepted and holds `ops`.
#[derive(Debug)]
pub(crate) struct Operator;

impl<S> FromRequestParts<S> for Operator
where
    Arc<Verifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, state).await?;
        principal.require(Scope::Ops)?;
        Ok(Self)
    }
}
