//! The JSON body of a command.

use std::convert::Infallible;

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use service::json::{RawJson, fingerprint, read_json};
use service::problem::Problem;

/// A body as received, or why there is none. Extraction itself never refuses: rights are judged
/// before bodies are, so a handler asks for the scope first and for [`JsonBody::parse`] then.
#[derive(Debug)]
pub(crate) struct JsonBody(Result<RawJson, Problem>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Infallible> {
        Ok(Self(RawJson::from_request(request, state).await))
    }
}

impl JsonBody {
    /// The body as a `T`, and its fingerprint: of what was received, so that a default added later
    /// does not change what an old key stands for.
    ///
    /// # Errors
    /// 413, 415, 400 where it is not JSON, 422 where it is not a `T`.
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<(T, String), Problem> {
        let RawJson(raw) = self.0?;
        let value = read_json(&raw)?;
        Ok((value, fingerprint(&raw)?))
    }
}
