//! Reading server-sent events as they come.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::Client;

/// Longer than anything takes that comes at all.
const LIMIT: Duration = Duration::from_secs(30);

/// One block of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<Value>,
}

/// A stream that is being read.
pub(crate) struct Reading {
    status: StatusCode,
    headers: HeaderMap,
    bytes: BoxStream<'static, Bytes>,
    text: String,
}

impl Reading {
    /// Asks for a stream, unless `headers` say what is accepted.
    pub(crate) async fn of(client: &Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut headers = headers.to_vec();
        if headers.iter().all(|(name, _)| *name != "accept") {
            headers.push(("accept", "text/event-stream"));
        }
        let response = client.open(Method::GET, path, &headers, Body::empty()).await;
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            bytes: body.into_data_stream().map(Result::unwrap).boxed(),
            text: String::new(),
        }
    }

    /// Of bytes that come otherwise, such as from a socket.
    pub(crate) fn of_bytes(bytes: BoxStream<'static, Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            bytes,
            text: String::new(),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next block that says something; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(LIMIT, self.block()).await.expect("nothing more came")
    }

    /// As [`Reading::next`]; `None` too where nothing comes in time.
    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<Frame> {
        timeout(limit, self.block()).await.ok().flatten()
    }

    /// The next so many events.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Frame> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            let frame = self.next().await.expect("the stream ended");
            assert_ne!(frame.event.as_deref(), Some("end"), "{frame:?}");
            if frame.data.is_some() {
                events.push(frame);
            }
        }
        events
    }

    async fn block(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let frame = parse(&block);
                if frame != Frame::default() {
                    return Some(frame);
                }
                continue;
            }
            let bytes = self.bytes.next().await?;
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

fn parse(block: &str) -> Frame {
    let mut frame = Frame::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => frame.id = Some(id.to_owned()),
            Some(("event", name)) => frame.event = Some(name.to_owned()),
            Some(("data", data)) => frame.data = Some(serde_json::from_str(data).unwrap()),
            // Comments, the reconnection time, and the blank line.
            Some(_) | None => {}
        }
    }
    frame
}
