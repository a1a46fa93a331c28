//! From bytes to a typed body, or to a refusal that says where and why.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::JsonError;
use super::canonical::{check, pointer};
use crate::problem::{Problem, code};

/// Reads a body.
///
/// # Errors
/// 400 where it is not JSON, 422 where it is not a `T`.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = check(body)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| invalid(&error))
}

fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path: Vec<String> = error.path().iter().filter_map(part).collect();
    let text = error.inner().to_string();
    // The place is told by the pointer; line and column only blur it.
    let detail = text.split(" at line ").next().unwrap_or_default();
    Problem::invalid_body(pointer(&path), detail)
}

fn part(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        // A variant is a level of the Rust type, not of the document.
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        let detail = format!("{error}.");
        match error {
            JsonError::InvalidUtf8 { .. } => Self::new(StatusCode::BAD_REQUEST, code::INVALID_UTF8, detail),
            JsonError::Malformed { .. } | JsonError::TooDeep => {
                Self::new(StatusCode::BAD_REQUEST, code::MALFORMED_JSON, detail)
            }
            JsonError::DuplicateKey { pointer, .. } => Self::new(StatusCode::BAD_REQUEST, code::DUPLICATE_KEY, detail)
                .with_error(pointer, "appears twice; it is not known which value is meant"),
        }
    }
}
