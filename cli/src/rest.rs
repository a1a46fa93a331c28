//! A client of the platform's own REST API.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    #[error("no answer from {url}")]
    NoAnswer { url: String, source: reqwest::Error },
    #[error("{0}")]
    Refused(Problem),
    #[error("the answer of {url} is not the JSON expected")]
    Unreadable { url: String, source: serde_json::Error },
}

impl RestError {
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::NoAnswer { .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// What the server says is wrong: its problem document, or just the status where it sent none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    document: Document,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Document {
    code: String,
    detail: String,
    errors: Vec<Fault>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Fault {
    pointer: String,
    detail: String,
}

impl Problem {
    pub(crate) fn of(status: StatusCode, body: &[u8]) -> Self {
        Self {
            status,
            document: serde_json::from_slice(body).unwrap_or_default(),
        }
    }

    pub(crate) fn code(&self) -> &str {
        &self.document.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Document { code, detail, errors } = &self.document;
        write!(f, "{}", self.status.as_u16())?;
        if code.is_empty() {
            return write!(f, " {}", self.status.canonical_reason().unwrap_or("without a reason"));
        }
        write!(f, " {code}: {detail}")?;
        for Fault { pointer, detail } in errors {
            write!(f, "; {pointer} {detail}")?;
        }
        Ok(())
    }
}

/// An answer with any status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn problem(&self) -> Problem {
        Problem::of(self.status, &self.body)
    }

    /// How long the server asks to wait before the request is repeated.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.headers
            .get(RETRY_AFTER)?
            .to_str()
            .ok()?
            .parse()
            .ok()
            .map(Duration::from_secs)
    }
}

/// The platform at one address, with one token. Connections are kept and shared.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Rest {
    /// # Errors
    /// Where the HTTP client cannot be set up.
    pub(crate) fn new(base: &str, token: String) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            // Beyond the server's own limit, which answers 503.
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, RestError> {
        let reply = self.send(Method::GET, path, &[], None).await?;
        if !reply.status.is_success() {
            return Err(RestError::Refused(reply.problem()));
        }
        serde_json::from_slice(&reply.body).map_err(|source| RestError::Unreadable {
            url: self.url(path),
            source,
        })
    }

    pub(crate) async fn get_as<T: DeserializeOwned>(&self, path: &str) -> Result<T, RestError> {
        let value = self.get(path).await?;
        serde_json::from_value(value).map_err(|source| RestError::Unreadable {
            url: self.url(path),
            source,
        })
    }

    /// Sends a request and returns the answer whatever its status.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Reply, RestError> {
        let url = self.url(path);
        let mut request = self.http.request(method, &url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let no_answer = |source: reqwest::Error| RestError::NoAnswer {
            url: url.clone(),
            source: source.without_url(),
        };
        let response = request.send().await.map_err(no_answer)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(no_answer)?.to_vec();
        Ok(Reply { status, headers, body })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_problem_document_then_code_detail_and_faults_are_shown() {
        let body = br#"{"type":"/docs/errors#invalid_body","status":422,"code":"invalid_body","detail":"not valid",
            "errors":[{"pointer":"/items/0/quantity","detail":"must be 1 to 10000"}]}"#;
        assert_eq!(
            Problem::of(StatusCode::UNPROCESSABLE_ENTITY, body).to_string(),
            "422 invalid_body: not valid; /items/0/quantity must be 1 to 10000"
        );
    }

    #[test]
    fn given_an_answer_that_is_no_problem_document_then_the_status_is_shown() {
        assert_eq!(
            Problem::of(StatusCode::BAD_GATEWAY, b"<html>").to_string(),
            "502 Bad Gateway"
        );
    }
}
