//! The past of an order by every way to it, and the log as a stream that outlives a process.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::client::Client;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

/// Every field that both a read model and the log can answer.
const WHOLE: &str = "{ id key number reference businessDate establishmentId status serviceType channel tableId
    subtotal { amount currency } discount { amount } tax { amount } tip { amount } total { amount currency }
    itemCount customer { key name contact } note placedAt updatedAt version
    items { id key productId name quantity unitPrice { amount } lineTotal { amount currency } note
            modifiers { key name price { amount } } }
    timeline { sequence type fromStatus status reason actor occurredAt recordedAt } }";

/// An order of a batch, moved on twice; its id, its states as REST answered them, and the last
/// position.
async fn with_a_past(client: &Client) -> (String, Vec<Value>, String) {
    let order = json!({"establishment_id": "main", "table_id": "t1", "reference": "R-7", "note": "no onions",
                       "customer": {"id": "ada", "name": "Ada"},
                       "items": [{"product_id": "margherita", "quantity": 2, "note": "sliced"}]});
    let quote = client.post("/v1/orders/quote", &order).await;
    assert_eq!(quote.status, 200, "{}", quote.body);
    let batch = json!({"orders": [{"idempotency_key": "past-1", "order": order},
                                  {"idempotency_key": "past-2", "order": {"establishment_id": "nowhere", "items": []}}]});
    let placed = client.post("/v1/orders/batch", &batch).await;
    let outcomes = &placed.body["outcomes"];
    assert_eq!(
        (&outcomes[0]["status"], &outcomes[1]["status"]),
        (&json!(201), &json!(422)),
        "{outcomes}"
    );
    let mut states = vec![outcomes[0]["order"].clone()];
    assert_eq!(quote.body["total"], states[0]["total"]);
    let id = states[0]["id"].as_str().expect("an id").to_owned();
    let mut position = String::new();
    for body in [
        json!({"status": "accepted"}),
        json!({"status": "cancelled", "reason": "customer"}),
    ] {
        let changed = client.post(&format!("/v1/orders/{id}/status"), &body).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        position = changed.header("comanda-position").expect("a position").to_owned();
        states.push(changed.body);
    }
    (id, states, position)
}

async fn graphql(client: &Client, id: &str, arguments: &str, position: &str) -> Value {
    let query = format!("{{ order(id: \"{id}\"{arguments}) {WHOLE} }}");
    let request = client.request("POST", "/graphql").header("comanda-position", position);
    let answer = Client::send(request.json(&json!({ "query": query }))).await;
    assert_eq!(answer.body.get("errors"), None, "{}", answer.body);
    answer.body["data"]["order"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shown_as_it_stood_by_rest_graphql_and_the_command_line() {
    // Given: an order that was placed, accepted and cancelled
    let platform = Platform::start().await;
    let client = platform.client("dev");
    let (id, states, position) = with_a_past(&client).await;

    for (index, state) in states.iter().enumerate() {
        let (version, time) = (index + 1, state["updated_at"].as_str().expect("a time"));
        // Then: REST shows each of its states, by version and by time
        for query in [format!("version={version}"), format!("as_of={time}")] {
            assert_eq!(
                &client.get(&format!("/v1/orders/{id}?{query}")).await.body,
                state,
                "{query}"
            );
        }
        // Then: so does the command line
        for at in [version.to_string(), time.to_owned()] {
            let shown = platform.comanda(&["orders", "get", &id, "--tenant", "dev", "--at", &at, "-o", "json"]);
            let shown: Value = serde_json::from_slice(&shown.stdout).expect("an order");
            assert_eq!(&shown, state, "--at {at}");
        }
        // Then: and GraphQL, which tells the same of both
        let by_version = graphql(&client, &id, &format!(", atVersion: {version}"), &position).await;
        let by_time = graphql(&client, &id, &format!(", asOf: \"{time}\""), &position).await;
        assert_eq!(by_version, by_time);
        assert_eq!(
            by_version["status"],
            state["status"].as_str().expect("a status").to_uppercase()
        );
        assert_eq!(by_version["total"], state["total"]);
        assert_eq!(by_version["timeline"].as_array().map(Vec::len), Some(version));
    }

    // Then: its last state is, in every field, what the read model has
    let present = graphql(&client, &id, "", &position).await;
    assert_eq!(graphql(&client, &id, ", atVersion: 3", &position).await, present);

    // Then: what was not is not shown
    let before = platform.comanda(&["orders", "get", &id, "--tenant", "dev", "--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(before.status.code(), Some(1));
    assert!(before.stdout.is_empty());
    let never = platform.comanda(&["orders", "get", &id, "--tenant", "dev", "--at", "0"]);
    assert_eq!(never.status.code(), Some(2));

    // Then: its history is its events
    let history = platform.comanda(&["orders", "history", &id, "--tenant", "dev", "-o", "ndjson"]);
    let lines: Vec<Value> = String::from_utf8_lossy(&history.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let types: Vec<_> = lines
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(types, ["OrderCreated", "OrderStatusChanged", "OrderStatusChanged"]);
    let table = platform.comanda(&["orders", "history", &id, "--tenant", "dev"]);
    assert!(
        String::from_utf8_lossy(&table.stdout).contains("cancelled"),
        "{table:?}"
    );
}

/// A stream of events that is being read.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(client: &Client, query: &str, last: Option<&str>) -> Self {
        let mut request = client
            .request("GET", &format!("/v1/events{query}"))
            .header("accept", "text/event-stream");
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next block's lines that begin with `id`, `event` and `data`; `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        let next = async {
            loop {
                if let Some(end) = self.text.find("\n\n") {
                    let block: String = self.text.drain(..end + 2).collect();
                    let line = |name: &str| {
                        block
                            .lines()
                            .find_map(|line| line.strip_prefix(name))
                            .map(str::to_owned)
                    };
                    if let Some(data) = line("data: ") {
                        let data = serde_json::from_str(&data).expect("JSON");
                        return Some((
                            line("id: ").unwrap_or_default(),
                            line("event: ").unwrap_or_default(),
                            data,
                        ));
                    }
                } else {
                    let chunk = self.response.chunk().await.ok().flatten()?;
                    self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
                }
            }
        };
        timeout(Duration::from_secs(20), next).await.expect("more in time")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_with_its_process_and_is_resumed_at_the_next() {
    // Given: a client that follows what comes
    let mut platform = Platform::start().await;
    let client = platform.client("dev");
    let mut stream = Stream::open(&client, "?after=now&type=OrderCreated", None).await;
    let order = json!({"establishment_id": "main", "items": [{"product_id": "margherita", "quantity": 1}]});
    let place = async |client: &Client| client.post("/v1/orders", &order).await.body["id"].clone();
    let mut placed = Vec::new();
    let mut seen = Vec::new();
    let mut last = String::new();
    for _ in 0..5 {
        placed.push(place(&client).await);
        let (id, kind, event) = stream.next().await.expect("an event");
        assert_eq!(kind, "OrderCreated");
        seen.push(event["aggregate_id"].clone());
        last = id;
    }

    // When: the process is asked to stop
    let status = platform.terminate().await;

    // Then: the stream says so and ends, and nothing had to be cut
    assert!(status.success(), "{status}");
    let (_, kind, end) = stream.next().await.expect("the end");
    assert_eq!((kind.as_str(), &end["code"]), ("end", &json!("stopping")));
    assert!(stream.next().await.is_none());

    // When: it runs again, and orders come before the client is back
    platform.restart().await;
    let client = platform.client("dev");
    placed.push(place(&client).await);
    let mut stream = Stream::open(&client, "?after=now&type=OrderCreated", Some(&last)).await;
    placed.push(place(&client).await);

    // Then: it has missed nothing and sees nothing twice
    for _ in 0..2 {
        seen.push(stream.next().await.expect("an event").2["aggregate_id"].clone());
    }
    assert_eq!(seen, placed);
}
