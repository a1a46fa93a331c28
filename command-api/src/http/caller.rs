//! Who calls, and what the request says beside its path and body.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use domain::{EstablishmentId, OrderId, ProductId, TenantId};
use service::auth::{Principal, Verifier};
use service::http::RequestContext;
use service::problem::{self, Problem};

use super::headers;
use crate::catalogue::Read;
use crate::error::{Error, Missing};

/// A caller whose token was accepted.
#[derive(Debug)]
pub(crate) struct Caller {
    pub principal: Principal,
    pub context: RequestContext,
    pub headers: HeaderMap,
}

impl<S> FromRequestParts<S> for Caller
where
    Arc<Verifier>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, state).await?;
        let Ok(context) = RequestContext::from_request_parts(parts, state).await;
        Ok(Self {
            principal,
            context,
            headers: parts.headers.clone(),
        })
    }
}

impl Caller {
    pub(crate) fn tenant(&self) -> &TenantId {
        self.principal.tenant().tenant()
    }

    /// Where the catalogue is to be read: a client that says how far it has read must not be judged
    /// by less.
    ///
    /// # Errors
    /// 400 where `Comanda-Position` is not a token.
    pub(crate) fn read(&self) -> Result<Read, Problem> {
        Ok(match headers::position(&self.headers)? {
            Some(_) => Read::Log,
            None => Read::Cached,
        })
    }
}

/// The order that a path names. One that is not a UUID names no order.
pub(crate) fn order_in_path(id: &str) -> Result<OrderId, Error> {
    id.parse().map_err(|_| Error::NotFound(Missing::Order))
}

/// The product that a path names; see [`order_in_path`].
pub(crate) fn product_in_path(id: &str) -> Result<ProductId, Error> {
    id.parse().map_err(|_| Error::NotFound(Missing::Product))
}

/// The establishment that a path names; see [`order_in_path`].
pub(crate) fn establishment_in_path(id: &str) -> Result<EstablishmentId, Error> {
    id.parse().map_err(|_| Error::NotFound(Missing::Establishment))
}

/// An id that a `PUT` would create under.
///
/// # Errors
/// 400 where nothing can be created under it.
pub(crate) fn new_id<T: std::str::FromStr<Err: std::fmt::Display>>(id: &str) -> Result<T, Problem> {
    id.parse()
        .map_err(|error| Problem::invalid_parameter("id", format!("The id in the path {error}.")))
}

/// What concerns every establishment is for a token that reaches all of them.
///
/// # Errors
/// 403 where the token is limited to some.
pub(crate) fn require_all_establishments(principal: &Principal) -> Result<(), Problem> {
    if principal.establishments().is_none() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        problem::code::ESTABLISHMENT_FORBIDDEN,
        "This concerns every establishment, and the token is limited to some.",
    ))
}
