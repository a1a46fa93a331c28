//! Many orders in one request: each is a command of its own.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};
use service::auth::Scope;

use crate::support::{Answer, Client, Platform, eur, small_order};

const BATCH: &str = "/v1/orders/batch";

fn id(number: usize) -> String {
    format!("0198c0de-0000-7000-8000-{number:012}")
}

fn with_id(number: usize) -> Value {
    let mut order = small_order();
    order["id"] = json!(id(number));
    json!({ "order": order })
}

fn with_key(key: &str, order: &Value) -> Value {
    json!({"idempotency_key": key, "order": order})
}

#[track_caller]
fn outcomes(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["outcomes"].as_array().unwrap().clone()
}

async fn sent(client: &Client, items: &[Value]) -> Vec<Value> {
    outcomes(&client.post(BATCH, &json!({ "orders": items })).await)
}

fn without_replayed(outcomes: &[Value]) -> Vec<Value> {
    let mut outcomes = outcomes.to_vec();
    for outcome in &mut outcomes {
        outcome.as_object_mut().unwrap().remove("replayed");
    }
    outcomes
}

/// What the item at `index` of the mixed batch is to become: status and code.
fn expected(index: usize) -> (u64, Option<&'static str>) {
    match index % 10 {
        0..=4 => (201, None),
        5 => (422, Some("unknown_product")),
        6 => (422, Some("invalid_body")),
        7 => (422, Some("unknown_establishment")),
        8 => (422, Some("invalid_quantity")),
        _ => (400, Some("invalid_parameter")),
    }
}

fn mixed(index: usize) -> Value {
    let mut order = small_order();
    let key = format!("k-{index}");
    match index % 10 {
        0..=2 => return with_id(index),
        3 | 4 => {}
        5 => order["items"][0]["product_id"] = json!("unknown"),
        6 => order["items"][0]["quantity"] = json!("two"),
        7 => order["establishment_id"] = json!("nowhere"),
        8 => order["items"][0]["quantity"] = json!(0),
        _ => return with_key("not\na key", &order),
    }
    with_key(&key, &order)
}

#[tokio::test]
async fn given_a_thousand_orders_good_and_bad_then_each_has_its_outcome_and_repeating_gives_the_same() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let items: Vec<Value> = (0..1_000).map(mixed).collect();

    let answer = client.post(BATCH, &json!({ "orders": items })).await;

    let first = outcomes(&answer);
    assert_eq!(first.len(), 1_000);
    for (index, outcome) in first.iter().enumerate() {
        let (status, code) = expected(index);
        assert_eq!(outcome["status"], status, "{index}: {outcome}");
        assert_eq!(outcome["problem"]["code"].as_str(), code, "{index}: {outcome}");
        assert_eq!(outcome["order"].is_object(), status == 201, "{index}: {outcome}");
        if index % 10 <= 2 {
            assert_eq!(outcome["order"]["id"], id(index), "outcomes stand in the items' order");
            assert_eq!(outcome["location"], format!("/v1/orders/{}", id(index)));
        }
    }
    assert_eq!(platform.count_events().await, before + 500);
    let numbers: BTreeSet<i64> = first.iter().filter_map(|it| it["order"]["number"].as_i64()).collect();
    assert_eq!(numbers, (1..=500).collect(), "numbers without a gap");
    // The answer's position is that of the last of them.
    let furthest = |text: &str| text.rsplit('.').next().unwrap().parse::<i64>().unwrap();
    let positions = first.iter().filter_map(|it| it["position"].as_str()).map(furthest);
    assert_eq!(
        positions.max(),
        answer.header("comanda-position").map(furthest),
        "{:?}",
        answer.headers
    );

    let again = sent(&client, &items).await;

    assert_eq!(without_replayed(&again), without_replayed(&first));
    for (outcome, repeated) in first.iter().zip(&again) {
        assert_eq!(outcome["replayed"], Value::Null, "{outcome}");
        let accepted = outcome["status"] == 201;
        assert_eq!(repeated["replayed"], if accepted { json!(true) } else { Value::Null });
    }
    assert_eq!(platform.count_events().await, before + 500);
}

#[tokio::test]
async fn given_the_same_order_twice_in_a_batch_then_the_second_repeats_the_first() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let mut other = with_id(1);
    other["order"]["items"][0]["quantity"] = json!(3);
    let key = |quantity: u32| {
        let mut order = small_order();
        order["items"][0]["quantity"] = json!(quantity);
        with_key("k", &order)
    };

    let outcomes = sent(
        &client,
        &[with_id(1), with_id(1), other, key(1), key(1), key(2), with_id(2)],
    )
    .await;

    let statuses: Vec<_> = outcomes.iter().map(|it| it["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 409, 201, 201, 422, 201]);
    let replayed: Vec<_> = outcomes.iter().map(|it| it["replayed"] == true).collect();
    assert_eq!(replayed, [false, true, false, false, true, false, false]);
    assert_eq!(outcomes[1]["order"], outcomes[0]["order"]);
    assert_eq!(outcomes[2]["problem"]["code"], "order_exists");
    assert_eq!(outcomes[5]["problem"]["code"], "idempotency_key_reused");
    assert_eq!(platform.count_events().await, before + 3);
}

#[tokio::test]
async fn given_an_order_sent_alone_and_in_a_batch_then_it_is_one_command() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let batched = sent(&client, &[with_key("a", &small_order())]).await;
    let alone = client.order_with_key("a", &small_order()).await;
    assert_eq!(alone.header("idempotent-replayed"), Some("true"));
    assert_eq!(alone.json(), batched[0]["order"]);

    let alone = client.order_with_key("b", &small_order()).await;
    let batched = sent(&client, &[with_key("\"b\"", &small_order())]).await;
    assert_eq!(
        (&batched[0]["replayed"], &batched[0]["order"]),
        (&json!(true), &alone.json())
    );
}

#[tokio::test]
async fn given_a_body_that_is_no_batch_then_nothing_is_placed() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let too_many: Vec<Value> = (0..1_001).map(with_id).collect();
    for (body, pointer) in [
        (json!({"orders": []}), "/orders"),
        (json!({ "orders": too_many }), "/orders"),
        (json!({}), ""),
        (json!([with_id(1)]), ""),
        (json!({"orders": [with_id(1)], "atomic": true}), "/atomic"),
        (json!({"orders": [{"idempotency_key": "k"}]}), "/orders/0"),
        (
            json!({"orders": [{"order": small_order(), "key": "k"}]}),
            "/orders/0/key",
        ),
        (
            json!({"orders": [{"order": small_order(), "idempotency_key": 1}]}),
            "/orders/0/idempotency_key",
        ),
    ] {
        let answer = client.post(BATCH, &body).await;
        answer.assert_faults(422, "invalid_body", &[pointer]);
    }
    let twice = r#"{"orders": [{"order": {"items": [], "items": []}}]}"#;
    let headers = [("content-type", "application/json")];
    let answer = client.send(Method::POST, BATCH, &headers, twice.into()).await;
    answer.assert_problem(400, "duplicate_key");
    let mut large = with_id(1);
    large["order"]["note"] = json!("n".repeat(1_100_000));
    client
        .post(BATCH, &json!({"orders": [large]}))
        .await
        .assert_problem(413, "payload_too_large");
    assert_eq!(platform.count_events().await, before);
}

#[tokio::test]
async fn given_items_that_name_nothing_or_are_no_orders_then_only_they_are_refused() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let unnamed = json!({"order": small_order()});
    let number = json!({"idempotency_key": "n", "order": 7});
    let outcomes = sent(&client, &[unnamed, number, with_id(1)]).await;
    assert_eq!(outcomes[0]["status"], 422);
    assert_eq!(outcomes[0]["problem"]["errors"][0]["pointer"], "/id");
    assert_eq!(outcomes[1]["problem"]["code"], "invalid_body");
    assert_eq!(outcomes[2]["status"], 201);
}

#[tokio::test]
async fn given_a_limited_token_then_each_item_is_judged_by_it() {
    let api = Platform::start().await.api().await;
    let owner = api.furnished("acme").await;
    let milano = json!({"name": "Milano", "time_zone": "Europe/Rome", "currency": "EUR"});
    owner.put("/v1/establishments/milano", &milano).await;
    let waiter = api.client_with(api.token("acme", &[Scope::OrdersWrite], Some(&["milano"])));
    let mut here = small_order();
    here["establishment_id"] = json!("milano");
    let mut implied = small_order();
    implied.as_object_mut().unwrap().remove("establishment_id");
    let open = json!({"establishment_id": "milano", "items": [{"name": "Tea", "unit_price": eur(1), "quantity": 1}]});

    let items = [
        with_key("a", &small_order()),
        with_key("b", &here),
        with_key("c", &implied),
        with_key("d", &open),
    ];
    let outcomes = sent(&waiter, &items).await;

    let codes: Vec<_> = outcomes.iter().map(|it| it["problem"]["code"].as_str()).collect();
    assert_eq!(
        codes,
        [Some("establishment_forbidden"), None, None, Some("missing_scope")]
    );
}

#[tokio::test]
async fn given_the_same_keys_of_another_tenant_then_nothing_of_this_one_is_shown() {
    let api = Platform::start().await.api().await;
    let owner = api.furnished("acme").await;
    let stranger = api.furnished("stranger").await;
    let mut secret = small_order();
    secret["reference"] = json!("canary-4711");
    let items = [with_key("k", &secret), with_id(1)];
    sent(&owner, &items).await;
    let theirs = sent(&stranger, &[with_key("k", &small_order()), with_id(1)]).await;
    assert!(theirs.iter().all(|it| it["status"] == 201 && it["replayed"].is_null()));
    assert!(!json!(theirs).to_string().contains("canary-4711"));
}
