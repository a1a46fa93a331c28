//! One order's journey, from an empty folder to a GraphQL answer.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

/// The `curl` line that `up` prints, as a person would paste it.
fn printed_curl(output: &str) -> &str {
    let start = output.find("curl ").expect("a curl line is printed");
    let rest = &output[start..];
    // The command goes on where a line ends in a backslash.
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        end += line.len();
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }
    rest[..end].trim()
}

fn paste(command: &str) -> Value {
    let output = Command::new("sh").args(["-c", command]).output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    let start = text.find('{').unwrap_or_else(|| panic!("no JSON in {text}"));
    serde_json::from_str(text[start..].trim()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

async fn graphql_order(client: &Client, id: &str, position: &str) -> Value {
    let query = "query($id: ID!) { order(id: $id) { key number status version itemCount \
                 total { amount currency } items { name quantity } timeline { type status } } }";
    let request = client
        .request("POST", "/graphql")
        .header("comanda-position", position)
        .json(&json!({"query": query, "variables": {"id": id}}));
    let answer = Client::send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body.get("errors"), None, "{}", answer.body);
    answer.body["data"]["order"].clone()
}

/// The log and GraphQL tell the same order, before and after its status moves on. Returns the last
/// position.
async fn from_log_to_graphql(client: &Client, id: &str) -> String {
    // Then: the log and GraphQL tell the same order
    let stored = client.get(&format!("/v1/orders/{id}")).await;
    assert_eq!((stored.status, stored.header("etag")), (200, Some("\"1\"")));
    let position = stored.header("comanda-position").expect("a position").to_owned();
    let order = graphql_order(client, id, &position).await;
    assert_eq!(
        (&order["key"], &order["number"], &order["status"]),
        (&json!(id), &json!(1), &json!("PLACED"))
    );
    assert_eq!(order["total"], stored.body["total"]);
    assert_eq!(order["timeline"].as_array().map(Vec::len), Some(1));

    // When: its status moves on
    let changed = client
        .post(&format!("/v1/orders/{id}/status"), &json!({"status": "accepted"}))
        .await;
    assert_eq!(
        (changed.status, changed.header("etag")),
        (200, Some("\"2\"")),
        "{}",
        changed.body
    );
    let position = changed.header("comanda-position").expect("a position").to_owned();

    // Then: a read with its token sees it
    let order = graphql_order(client, id, &position).await;
    assert_eq!((&order["status"], &order["version"]), (&json!("ACCEPTED"), &json!(2)));
    position
}

/// The seeded tenant's first order, by a client that knows nothing but the URL and a token.
pub(crate) async fn an_order(platform: &dyn Topology) {
    let client = platform.client("dev");
    let body = json!({"establishment_id": "main", "items": [{"product_id": "margherita", "quantity": 2}]});
    let created = client.post("/v1/orders", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    from_log_to_graphql(&client, created.body["id"].as_str().expect("an id")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_from_a_pasted_curl_to_graphql_and_survives_a_restart() {
    let mut platform = Platform::start().await;

    // When: the printed line is pasted
    let created = paste(printed_curl(&platform.output()));
    let id = created["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no order in {created}"))
        .to_owned();
    assert_eq!(created["status"], "placed");
    assert_eq!(created["number"], 1);

    let client = platform.client("dev");
    let position = from_log_to_graphql(&client, &id).await;

    // When: the platform ends as asked and starts again
    let status = platform.terminate().await;
    assert!(status.success(), "{status}");
    assert_eq!(
        platform.postgres_processes(),
        Vec::<i32>::new(),
        "PostgreSQL ended with it"
    );
    platform.restart().await;

    // Then: everything is still there, and nothing was seeded twice
    let client = platform.client("dev");
    let order = graphql_order(&client, &id, &position).await;
    assert_eq!(order["status"], "ACCEPTED");
    let events = client.get("/v1/events?limit=1000").await;
    let text = match &events.body {
        Value::String(text) => text.clone(),
        single => single.to_string(),
    };
    let establishments = text
        .lines()
        .filter(|line| line.contains("\"EstablishmentDefined\""))
        .count();
    assert_eq!(establishments, 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_the_documents_are_served_on_the_one_port() {
    let platform = Platform::start().await;
    let http = reqwest::Client::new();
    for (path, contained) in [
        ("/health", "\"status\""),
        ("/health/live", ""),
        ("/health/ready", ""),
        ("/metrics", "http_requests_total"),
        ("/openapi.json", "\"3.1"),
        ("/docs", "<html"),
    ] {
        let response = http
            .get(format!("{}{path}", platform.url()))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        let text = response.text().await.expect("text");
        assert!(
            text.to_lowercase().contains(contained),
            "{path} lacks {contained}: {text}"
        );
    }
    let page = http
        .get(format!("{}/graphql", platform.url()))
        .header("accept", "text/html")
        .send()
        .await;
    let page = page.expect("an answer").text().await.expect("text");
    assert!(page.contains("GraphQL explorer"), "the explorer is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_killed_postgresql_then_the_platform_brings_it_back_by_itself() {
    let platform = Platform::start().await;
    let client = platform.client("dev");
    platform.kill_postgres();
    eventually(Duration::from_secs(60), || async {
        let answer = client.get("/v1/events?limit=1").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(format!("{} {}", answer.status, answer.body))
        }
    })
    .await;
    platform.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_platform_on_the_same_folder_is_refused() {
    let platform = Platform::start().await;
    let second = platform.comanda(&["up", "--port", "0"]);
    assert!(!second.status.success());
    let message = String::from_utf8_lossy(&second.stderr);
    assert!(message.contains("already"), "{message}");
}
