//! Bad input gets a precise refusal and changes nothing.

use serde_json::{Value, json};

use crate::support::checker::Log;
use crate::support::client::{Answer, Client};
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};
use crate::support::platform::Platform;
use crate::support::topology::Topology;

fn order(items: Value) -> Value {
    json!({"establishment_id": ESTABLISHMENT, "items": items})
}

fn open_item(amount: i64, currency: &str, quantity: Value) -> Value {
    json!({"name": "Special", "unit_price": {"amount": amount, "currency": currency}, "quantity": quantity})
}

async fn raw(client: &Client, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
    let request = client
        .request("POST", path)
        .header("content-type", content_type)
        .body(body);
    Client::send(request).await
}

fn assert_problem(name: &str, answer: &Answer, status: u16, code: Option<&str>) {
    assert_eq!(answer.status, status, "{name}: {}", answer.body);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{name}"
    );
    assert!(
        answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
        "{name}: {}",
        answer.body
    );
    let found = answer.body["code"].as_str();
    assert!(found.is_some(), "{name} has no code: {}", answer.body);
    if code.is_some() {
        assert_eq!(found, code, "{name}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_with_a_code_and_change_nothing() {
    bad_orders(&Platform::start().await).await;
}

pub(crate) async fn bad_orders(platform: &dyn Topology) {
    let load = Load::prepare(platform, "bad", 1).await;
    let client = &load.clients[0];
    let before = Log::read(platform.databases()).await.events;
    let good = json!({"product_id": PRODUCT, "quantity": 1});

    let bodies: Vec<(&str, u16, Option<&str>, Value)> = vec![
        ("no items", 422, None, order(json!([]))),
        (
            "quantity none",
            422,
            None,
            order(json!([{"product_id": PRODUCT, "quantity": 0}])),
        ),
        (
            "quantity absurd",
            422,
            None,
            order(json!([{"product_id": PRODUCT, "quantity": 4_000_000_000_u32}])),
        ),
        (
            "quantity beyond u32",
            422,
            None,
            order(json!([{"product_id": PRODUCT, "quantity": 1e30}])),
        ),
        (
            "quantity negative",
            422,
            None,
            order(json!([{"product_id": PRODUCT, "quantity": -1}])),
        ),
        (
            "quantity text",
            422,
            None,
            order(json!([{"product_id": PRODUCT, "quantity": "two"}])),
        ),
        (
            "unknown product",
            422,
            Some("unknown_product"),
            order(json!([{"product_id": "none", "quantity": 1}])),
        ),
        (
            "unknown field",
            422,
            None,
            json!({"establishment_id": ESTABLISHMENT, "items": [good], "colour": "red"}),
        ),
        (
            "unknown establishment",
            422,
            None,
            json!({"establishment_id": "none", "items": [good]}),
        ),
        (
            "wrong currency",
            422,
            Some("currency_mismatch"),
            order(json!([open_item(100, "USD", json!(1))])),
        ),
        (
            "no such currency",
            422,
            None,
            order(json!([open_item(100, "ZZZ", json!(1))])),
        ),
        (
            "negative price",
            422,
            None,
            order(json!([open_item(-1, "EUR", json!(1))])),
        ),
        (
            "overflowing total",
            422,
            Some("amount_out_of_range"),
            order(json!([open_item(9_007_199_254_740_991, "EUR", json!(9_000))])),
        ),
        (
            "NUL",
            422,
            None,
            json!({"establishment_id": ESTABLISHMENT, "items": [good], "note": "a\u{0}b"}),
        ),
        (
            "id that is no UUID",
            422,
            None,
            json!({"id": "7", "establishment_id": ESTABLISHMENT, "items": [good]}),
        ),
        (
            "placed next year",
            422,
            Some("placed_in_future"),
            json!({"establishment_id": ESTABLISHMENT, "items": [good], "placed_at": "2099-01-01T00:00:00Z"}),
        ),
        ("a list", 422, None, json!([1, 2])),
    ];
    for (name, status, code, body) in bodies {
        assert_problem(name, &client.post("/v1/orders", &body).await, status, code);
    }

    let json_type = "application/json";
    for (name, status, content_type, body) in [
        ("malformed JSON", 400, json_type, b"{\"items\": [".to_vec()),
        ("empty body", 400, json_type, vec![]),
        ("invalid UTF-8", 400, json_type, b"{\"note\": \"\xff\xfe\"}".to_vec()),
        ("not JSON", 415, "text/plain", b"items=1".to_vec()),
        ("ten megabytes", 413, json_type, vec![b' '; 10 * 1024 * 1024]),
        ("nested without end", 400, json_type, "[".repeat(100_000).into_bytes()),
    ] {
        assert_problem(name, &raw(client, "/v1/orders", content_type, body).await, status, None);
    }

    for path in [
        "/v1/orders/7",
        "/v1/orders/018f0000-0000-7000-8000-000000000000",
        "/v1/nothing",
    ] {
        assert_problem(path, &client.get(path).await, 404, None);
    }
    let after = Log::read(platform.databases()).await.events;
    assert_eq!(after, before, "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_versions_and_keys_are_refused_as_documented() {
    transitions(&Platform::start().await).await;
}

pub(crate) async fn transitions(platform: &dyn Topology) {
    let load = Load::prepare(platform, "rule", 2).await;
    let client = &load.clients[0];
    let body = order(json!([{"product_id": PRODUCT, "quantity": 1}]));
    let keyed = |body: &Value| {
        client
            .request("POST", "/v1/orders")
            .header("idempotency-key", "\"k-1\"")
            .json(body)
    };

    let created = Client::send(keyed(&body)).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let again = Client::send(keyed(&body)).await;
    assert_eq!(
        (again.status, &again.body),
        (201, &created.body),
        "the same request, the same answer"
    );
    let other = order(json!([{"product_id": PRODUCT, "quantity": 2}]));
    assert_problem(
        "reused key",
        &Client::send(keyed(&other)).await,
        422,
        Some("idempotency_key_reused"),
    );

    let id = created.body["id"].as_str().expect("an id");
    let mut with_id = other.clone();
    with_id["id"] = json!(id);
    assert_problem(
        "taken id",
        &client.post("/v1/orders", &with_id).await,
        409,
        Some("order_exists"),
    );

    let status = format!("/v1/orders/{id}/status");
    let refused = client.post(&status, &json!({"status": "completed"})).await;
    assert_problem("illegal", &refused, 409, Some("illegal_transition"));
    assert_eq!(refused.body["current_status"], "placed");
    assert_eq!(refused.body["allowed"], json!(["accepted", "rejected", "cancelled"]));
    assert_problem(
        "no status",
        &client.post(&status, &json!({"status": "eaten"})).await,
        422,
        None,
    );
    let stale = client
        .request("POST", &status)
        .header("if-match", "\"9\"")
        .json(&json!({"status": "accepted"}));
    assert_problem("stale", &Client::send(stale).await, 412, None);

    // Another tenant's order does not exist.
    let stranger = &load.clients[1];
    for (name, answer) in [
        ("read", stranger.get(&format!("/v1/orders/{id}")).await),
        ("events", stranger.get(&format!("/v1/orders/{id}/events")).await),
        ("change", stranger.post(&status, &json!({"status": "accepted"})).await),
    ] {
        assert_problem(name, &answer, 404, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_tokens_that_are_forged_expired_or_short_of_rights() {
    forged_tokens(&Platform::start().await).await;
}

pub(crate) async fn forged_tokens(platform: &dyn Topology) {
    let document = reqwest::get(format!("{}/openapi.json", platform.url()))
        .await
        .expect("an answer");
    let document: Value = document.json().await.expect("JSON");
    let mut routes: Vec<(String, String)> = vec![("POST".into(), "/graphql".into())];
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            if path.starts_with("/v1/") && method != "parameters" {
                routes.push((
                    method.to_uppercase(),
                    path.replace("{id}", "018f0000-0000-7000-8000-000000000000"),
                ));
            }
        }
    }
    assert!(routes.len() > 8, "{routes:?}");

    let good = platform.token(&["--tenant", "dev", "--scope", "orders:read"]);
    let forgeries = forgeries(&good);
    let nobody = platform.token(&["--tenant", "dev", "--scope", "ops"]);
    for (method, path) in &routes {
        for (name, token) in &forgeries {
            let client = Client::new(platform.url(), token);
            let answer = Client::send(client.request(method, path).json(&json!({"query": "{ __typename }"}))).await;
            assert_eq!(answer.status, 401, "{name} at {method} {path}: {}", answer.body);
        }
        let body = if path == "/graphql" {
            json!({"query": "{ establishments { edges { node { id } } } }"})
        } else {
            json!({})
        };
        let client = Client::new(platform.url(), &nobody);
        let answer = Client::send(client.request(method, path).json(&body)).await;
        let refused = answer.status == 403 || answer.body.to_string().contains("FORBIDDEN");
        assert!(
            refused,
            "a token without rights at {method} {path}: {} {}",
            answer.status, answer.body
        );
    }
}

/// What an attacker makes of a good token.
pub(crate) fn forgeries(good: &str) -> Vec<(&'static str, String)> {
    let mut parts = good.split('.');
    let (header, claims, signature) = (
        parts.next().expect("a header"),
        parts.next().expect("claims"),
        parts.next().expect("a signature"),
    );
    // {"alg":"none","typ":"JWT"} and {"alg":"none"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    // {"alg":"RS256","typ":"JWT"}
    let rs = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    let mut other_claims: Vec<char> = claims.chars().collect();
    let middle = other_claims.len() / 2;
    other_claims[middle] = if other_claims[middle] == 'A' { 'B' } else { 'A' };
    let other_claims: String = other_claims.into_iter().collect();
    vec![
        ("garbage", "garbage".into()),
        ("algorithm none", format!("{none}.{claims}.")),
        ("algorithm none, signed", format!("{none}.{claims}.{signature}")),
        ("another algorithm", format!("{rs}.{claims}.{signature}")),
        ("changed claims", format!("{header}.{other_claims}.{signature}")),
        ("no signature", format!("{header}.{claims}.")),
        ("two parts", format!("{header}.{claims}")),
        ("cut signature", good[..good.len() - 4].to_owned()),
    ]
}
