//! A client that writes down what it is about to ask before it asks it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

/// One request as it will be sent, however often.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) tenant: usize,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) body: Value,
}

/// What became of it, as far as the client knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Sent, or about to be: it may or may not have happened.
    Unknown,
    /// Answered for good.
    Settled { status: u16, body: Value },
}

/// The client's own record, written before the send (G1, G2).
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Mutex<BTreeMap<String, (Intent, Outcome)>>,
}

impl Journal {
    pub(crate) fn intend(&self, intent: &Intent) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .entry(intent.key.clone())
            .or_insert_with(|| (intent.clone(), Outcome::Unknown));
    }

    /// Notes an answer; a second one must be the first one again (G5).
    pub(crate) fn settle(&self, key: &str, status: u16, body: Value) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get_mut(key).expect("intended first");
        let settled = Outcome::Settled { status, body };
        if entry.1 == Outcome::Unknown {
            entry.1 = settled;
        } else {
            assert_eq!(entry.1, settled, "the same request, answered differently");
        }
    }

    pub(crate) fn unknown(&self) -> Vec<Intent> {
        self.select(|outcome| *outcome == Outcome::Unknown)
    }

    pub(crate) fn settled_as(&self, wanted: u16) -> Vec<Intent> {
        self.select(|outcome| matches!(outcome, Outcome::Settled { status, .. } if *status == wanted))
    }

    pub(crate) fn all(&self) -> Vec<Intent> {
        self.select(|_| true)
    }

    fn select(&self, wanted: impl Fn(&Outcome) -> bool) -> Vec<Intent> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .values()
            .filter(|(_, outcome)| wanted(outcome))
            .map(|(intent, _)| intent.clone())
            .collect()
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The outcome is not known: the server failed, was busy, or gave up waiting.
    pub(crate) fn is_unknown(&self) -> bool {
        self.status == 429 || self.status >= 500
    }
}

/// HTTP with one tenant's token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    pub(crate) fn new(base: &str, token: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        Self {
            http,
            base: base.to_owned(),
            token: token.to_owned(),
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }

    /// `Err` where no answer came: the outcome is unknown.
    pub(crate) async fn try_send(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status, headers, body })
    }

    pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
        Self::try_send(request).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Self::send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request("POST", path).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request("PUT", path).json(body)).await
    }

    pub(crate) async fn query(&self, query: &str, variables: Value) -> Answer {
        self.post("/graphql", &serde_json::json!({"query": query, "variables": variables}))
            .await
    }

    /// Sends an intent once and notes what is known then.
    pub(crate) async fn attempt(&self, intent: &Intent, journal: &Journal) -> Option<Answer> {
        journal.intend(intent);
        let request = self
            .request("POST", &intent.path)
            .header("idempotency-key", &intent.key)
            .json(&intent.body);
        let answer = Self::try_send(request)
            .await
            .ok()
            .filter(|answer| !answer.is_unknown())?;
        journal.settle(&intent.key, answer.status, answer.body.clone());
        Some(answer)
    }
}
