//! Repeating a command gives the answer it was given, whatever happened in between.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;

use crate::support::{Answer, Platform, eur, small_order};

#[track_caller]
fn assert_repeats(repeated: &Answer, first: &Answer) {
    assert_eq!(repeated.status, first.status, "{}", repeated.text);
    assert_eq!(repeated.text, first.text);
    for header in ["etag", "location", "comanda-position"] {
        assert_eq!(repeated.header(header), first.header(header), "{header}");
    }
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn given_a_key_when_the_create_is_repeated_then_the_answer_is_the_same() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let first = client.order_with_key("k-1", &small_order()).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_repeats(&client.order_with_key("k-1", &small_order()).await, &first);
    assert_repeats(&client.order_with_key("\"k-1\"", &small_order()).await, &first);
    let spaced =
        r#"{ "items": [ {"quantity": 2, "product_id": "espresso"} ], "table_id": "t4", "establishment_id": "roma" }"#;
    let headers = [("idempotency-key", "k-1"), ("content-type", "application/json")];
    assert_repeats(
        &client.send(Method::POST, "/v1/orders", &headers, spaced.into()).await,
        &first,
    );
}

#[tokio::test]
async fn given_a_key_when_it_comes_with_another_body_then_422() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    client.order_with_key("k-1", &small_order()).await;
    let mut other = small_order();
    other["items"][0]["quantity"] = json!(3);
    client
        .order_with_key("k-1", &other)
        .await
        .assert_problem(422, "idempotency_key_reused");
    // Even one that would be refused anyway.
    other["items"][0]["product_id"] = json!("unknown");
    client
        .order_with_key("k-1", &other)
        .await
        .assert_problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn given_an_id_of_the_client_then_it_names_the_order_once() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = "0198c0de-0000-7000-8000-00000000000a";
    let mut body = small_order();
    body["id"] = json!(id);
    let first = client.order(&body).await;
    assert_eq!((first.status.as_u16(), first.json()["id"].as_str()), (201, Some(id)));
    assert_repeats(&client.order(&body).await, &first);
    assert_repeats(&client.order_with_key("any", &body).await, &first);

    body["items"][0]["quantity"] = json!(9);
    client.order(&body).await.assert_problem(409, "order_exists");
    client
        .order_with_key("other", &body)
        .await
        .assert_problem(409, "order_exists");
    body["items"][0]["product_id"] = json!("unknown");
    client.order(&body).await.assert_problem(409, "order_exists");
}

#[tokio::test]
async fn given_the_same_key_or_id_in_another_tenant_then_it_is_another_order() {
    let api = Platform::start().await.api().await;
    let (acme, other) = (api.furnished("acme").await, api.furnished("other").await);
    let mut body = small_order();
    let first = acme.order_with_key("k-1", &body).await;
    let second = other.order_with_key("k-1", &body).await;
    assert_eq!(second.status, 201);
    assert_ne!(first.json()["id"], second.json()["id"]);

    body["id"] = first.json()["id"].clone();
    let third = other.order(&body).await;
    assert_eq!(third.status, 201, "another tenant's id is free here: {}", third.text);
    assert_eq!(third.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn given_the_catalogue_changed_since_then_the_stored_answer_goes_before_a_refusal() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let mut with_id = small_order();
    with_id["id"] = json!("0198c0de-0000-7000-8000-00000000000b");
    let (by_key, by_id) = (
        client.order_with_key("k-1", &small_order()).await,
        client.order(&with_id).await,
    );
    assert_eq!(
        client
            .post("/v1/products/espresso/availability", &json!({"available": false}))
            .await
            .status,
        200
    );

    assert_repeats(&client.order_with_key("k-1", &small_order()).await, &by_key);
    assert_repeats(&client.order(&with_id).await, &by_id);
    let refused = client.order_with_key("k-2", &small_order()).await;
    refused.assert_faults(422, "product_unavailable", &["/items/0/product_id"]);

    // A refusal is not kept: the same key is judged anew.
    client
        .post("/v1/products/espresso/availability", &json!({"available": true}))
        .await;
    let judged_anew = client.order_with_key("k-2", &small_order()).await;
    assert_eq!(
        (judged_anew.status.as_u16(), judged_anew.header("idempotent-replayed")),
        (201, None)
    );
}

#[tokio::test]
async fn given_the_order_moved_on_then_a_repeated_create_is_answered_as_it_was() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let first = client.order_with_key("k-1", &small_order()).await;
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        client.status(&id, &[], &json!({"status": "accepted"})).await.status,
        200
    );
    assert_repeats(&client.order_with_key("k-1", &small_order()).await, &first);
}

#[tokio::test]
async fn given_a_keyed_status_change_then_it_is_answered_as_it_was() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let (id, other) = (client.placed().await, client.placed().await);
    let accept = json!({"status": "accepted"});
    let keyed = [("idempotency-key", "s-1"), ("if-match", "\"1\"")];
    let first = client.status(&id, &keyed, &accept).await;
    assert_eq!(first.status, 200);
    assert_eq!(
        client.status(&id, &[], &json!({"status": "preparing"})).await.status,
        200
    );

    // The key goes before If-Match, which has gone stale, and before the transition.
    assert_repeats(&client.status(&id, &keyed, &accept).await, &first);
    client
        .status(&id, &keyed, &json!({"status": "ready"}))
        .await
        .assert_problem(422, "idempotency_key_reused");
    let elsewhere = client.status(&other, &keyed, &accept).await;
    assert_eq!(
        (elsewhere.status.as_u16(), elsewhere.header("idempotent-replayed")),
        (200, None)
    );
}

#[tokio::test]
async fn given_one_key_for_two_operations_then_they_do_not_meet() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.order_with_key("k-1", &small_order()).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let changed = client
        .status(&id, &[("idempotency-key", "k-1")], &json!({"status": "accepted"}))
        .await;
    assert_eq!(
        (changed.status.as_u16(), changed.header("idempotent-replayed")),
        (200, None)
    );
}

#[tokio::test]
async fn given_a_keyed_definition_then_it_is_answered_as_it_was() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let put = async |key: &str, amount: i64| {
        let body = json!({"name": "Tea", "price": eur(amount)});
        client
            .with(Method::PUT, "/v1/products/tea", &[("idempotency-key", key)], &body)
            .await
    };
    let first = put("p-1", 250).await;
    assert_eq!(first.status, 201);
    let second = put("p-2", 300).await;
    assert_eq!((second.status.as_u16(), second.header("etag")), (200, Some("\"2\"")));
    assert_repeats(&put("p-1", 250).await, &first);
    assert_repeats(&put("p-2", 300).await, &second);
    put("p-1", 300).await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(client.get("/v1/products/tea").await.json()["version"], 2);
}

#[tokio::test]
async fn given_the_process_was_started_anew_then_repeats_are_answered_as_they_were() {
    let platform = Platform::start().await;
    let before = platform.api().await;
    let client = before.furnished("acme").await;
    let placed = client.order_with_key("k-1", &small_order()).await;
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    let keyed = [("idempotency-key", "s-1")];
    let accepted = client.status(&id, &keyed, &json!({"status": "accepted"})).await;
    let defined = json!({"name": "Espresso", "price": eur(160)});
    let keyed_product = [("idempotency-key", "p-1")];
    let product = client
        .with(Method::PUT, "/v1/products/espresso", &keyed_product, &defined)
        .await;
    before.store.close().await;

    let client = platform.api().await.client("acme");
    assert_repeats(&client.order_with_key("k-1", &small_order()).await, &placed);
    assert_repeats(
        &client.status(&id, &keyed, &json!({"status": "accepted"})).await,
        &accepted,
    );
    assert_repeats(
        &client
            .with(Method::PUT, "/v1/products/espresso", &keyed_product, &defined)
            .await,
        &product,
    );
}

/// As after a standby was promoted that lacked the end: the process still knows what the log lost.
#[tokio::test]
async fn given_the_log_lost_a_command_then_repeating_it_stores_it_again() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    let keyed = [("idempotency-key", "s-1")];
    let accept = json!({"status": "accepted"});
    let first = client.status(&id, &keyed, &accept).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_repeats(&client.status(&id, &keyed, &accept).await, &first);
    let before = platform.count_events().await;

    for mut shard in platform.connections().await {
        let lost = "BEGIN; ALTER TABLE events DISABLE TRIGGER events_are_append_only; \
                    DELETE FROM events WHERE event_type = 'OrderStatusChanged'; \
                    ALTER TABLE events ENABLE TRIGGER events_are_append_only; \
                    UPDATE slots s SET slot_position = \
                        (SELECT coalesce(max(e.slot_position), 0) FROM events e WHERE e.slot = s.slot); \
                    UPDATE shard SET position = (SELECT coalesce(max(position), 0) FROM events); COMMIT";
        sqlx::raw_sql(lost).execute(&mut shard).await.unwrap();
    }
    assert_eq!(platform.count_events().await, before - 1);
    let again = client.status(&id, &keyed, &accept).await;
    assert_eq!(
        (again.status.as_u16(), again.header("idempotent-replayed")),
        (200, None),
        "{}",
        again.text
    );
    assert_eq!(platform.count_events().await, before);
    assert_repeats(&client.status(&id, &keyed, &accept).await, &again);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_one_key_sent_many_times_at_once_then_one_order_is_stored() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    here.furnished("acme").await;
    let before = platform.count_events().await;
    let sends: Vec<_> = (0..32)
        .map(|send| {
            let client = if send % 2 == 0 {
                here.client("acme")
            } else {
                there.client("acme")
            };
            tokio::spawn(async move { client.order_with_key("k-1", &small_order()).await })
        })
        .collect();
    let mut bodies = Vec::new();
    for send in sends {
        let answer = send.await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
        bodies.push(answer.text);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert_eq!(platform.count_events().await, before + 1);
}

/// The caller goes away at any point between sending and answer, as when the process is killed
/// there: whatever was stored, repeating settles it and doubles nothing.
#[tokio::test(flavor = "multi_thread")]
async fn given_the_answer_was_lost_then_repeating_stores_nothing_twice() {
    const ORDERS: u64 = 60;
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let mut lost = 0;
    for order in 0..ORDERS {
        let patience = Duration::from_micros(order * 100);
        let key = format!("k-{order}");
        if tokio::time::timeout(patience, client.order_with_key(&key, &small_order()))
            .await
            .is_err()
        {
            lost += 1;
        }
    }
    assert!(lost > 0, "no answer was lost, so nothing was tried");
    let mut numbers = Vec::new();
    for order in 0..ORDERS {
        let answer = client.order_with_key(&format!("k-{order}"), &small_order()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        numbers.push(answer.json()["number"].as_u64().unwrap());
    }
    numbers.sort_unstable();
    let expected: Vec<u64> = (1..=ORDERS).collect();
    assert_eq!(numbers, expected);
    assert_eq!(platform.count_events().await, before + i64::try_from(ORDERS).unwrap());
}
