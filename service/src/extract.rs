//! Path and query parameters whose refusals are problem documents.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, path::ErrorKind};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// As [`axum::extract::Path`]; a parameter that cannot be read answers 400 `invalid_parameter`.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T, S> FromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(path_problem(rejection)),
        }
    }
}

fn path_problem(rejection: PathRejection) -> Problem {
    match rejection {
        PathRejection::FailedToDeserializePathParams(failed) => match failed.into_kind() {
            ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
                Problem::invalid_parameter(&key, format!("`{key}` must be {expected_type}."))
            }
            ErrorKind::DeserializeError { key, message, .. } => {
                Problem::invalid_parameter(&key, format!("`{key}`: {message}."))
            }
            ErrorKind::InvalidUtf8InPathParam { key } => {
                Problem::invalid_parameter(&key, format!("`{key}` must be UTF-8."))
            }
            ErrorKind::Message(message) => Problem::invalid_parameter("path", format!("The path: {message}.")),
            other => {
                tracing::error!(error = %other, "a route's path parameters do not fit its handler");
                Problem::internal()
            }
        },
        other => {
            tracing::error!(error = %other, "a route's path parameters do not fit its handler");
            Problem::internal()
        }
    }
}

/// As [`axum::extract::Query`]; a query that cannot be read answers 400 `invalid_parameter`.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(query_problem(&rejection)),
        }
    }
}

fn query_problem(rejection: &QueryRejection) -> Problem {
    // The text is "<our prefix>: <parameter>: <what is wrong>", or without the parameter.
    let source = std::error::Error::source(rejection).map_or_else(|| rejection.to_string(), ToString::to_string);
    match source.split_once(": ") {
        Some((name, problem)) if !name.contains(' ') => {
            Problem::invalid_parameter(name, format!("`{name}`: {problem}."))
        }
        _ => Problem::invalid_parameter("query", format!("The query: {source}.")),
    }
}
