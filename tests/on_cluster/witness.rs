//! A client that reads its own writes all the time, and notes every answer that breaks a promise (G9).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_store::PositionToken;
use serde_json::json;

use super::last;
use crate::support::client::{Answer, Client};
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};

/// What a witness saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    violations: Mutex<Vec<String>>,
    /// Reads that included the write.
    pub(crate) included: AtomicUsize,
    /// Reads that said honestly that they did not, or that were not answered.
    pub(crate) honest: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Witness {
    pub(crate) fn start(load: &Arc<Load>) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let client = load.clients[0].clone();
        let task = tokio::spawn({
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            async move {
                let mut newest: Option<PositionToken> = None;
                // Bounded, as every load here is.
                for _ in 0..100_000 {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    look(&client, &seen, &mut newest).await;
                    last(Duration::from_millis(20)).await;
                }
            }
        });
        Self { stop, seen, task }
    }

    /// Ends it, and returns what broke a promise.
    pub(crate) async fn stop(self) -> (Vec<String>, usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the witness");
        let violations = self
            .seen
            .violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (violations, count(&self.seen.included), count(&self.seen.honest))
    }
}

impl Seen {
    fn violated(&self, what: String) {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }
}

/// Writes, reads with the write's token, then reads with the newest token there is.
async fn look(client: &Client, seen: &Seen, newest: &mut Option<PositionToken>) {
    let body = json!({"establishment_id": ESTABLISHMENT, "items": [{"product_id": PRODUCT, "quantity": 1}]});
    let Ok(created) = Client::try_send(client.request("POST", "/v1/orders").json(&body)).await else {
        return;
    };
    if created.status != 201 {
        return;
    }
    let (id, token) = (
        created.body["id"].as_str().expect("an id"),
        token(&created).expect("a token"),
    );
    match read(client, id, &token).await {
        Some(answer) if is_answered(&answer) => {
            if answer.body["data"]["order"]["key"] != json!(id) {
                seen.violated(format!("a read with {token} lacks {id}: {}", answer.body));
            }
            seen.included.fetch_add(1, Ordering::Relaxed);
            never_back(&answer, seen, newest);
        }
        _ => {
            seen.honest.fetch_add(1, Ordering::Relaxed);
        }
    }
    if let Some(before) = newest.as_ref().copied()
        && let Some(answer) = read(client, id, &before).await
        && is_answered(&answer)
    {
        never_back(&answer, seen, newest);
    }
}

fn never_back(answer: &Answer, seen: &Seen, newest: &mut Option<PositionToken>) {
    let Some(now) = token(answer) else {
        seen.violated(format!("an answer without a position: {}", answer.body));
        return;
    };
    if let Some(before) = newest
        && (before.incarnation, before.slot_position) > (now.incarnation, now.slot_position)
    {
        seen.violated(format!("went back from {before} to {now}"));
    }
    *newest = Some(now);
}

fn token(answer: &Answer) -> Option<PositionToken> {
    answer.header("comanda-position")?.parse().ok()
}

fn is_answered(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.get("errors").is_none()
}

async fn read(client: &Client, id: &str, token: &PositionToken) -> Option<Answer> {
    let request = client
        .request("POST", "/graphql")
        .header("comanda-position", token.to_string())
        .json(&json!({"query": "query($id: ID!) { order(id: $id) { key version } }", "variables": {"id": id}}));
    Client::try_send(request).await.ok()
}
