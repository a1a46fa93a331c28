//! Changing an order's status.

use serde_json::json;

use crate::support::{Platform, small_order};

#[tokio::test]
async fn given_a_placed_order_when_it_moves_on_then_version_and_etag_follow() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    for (version, status) in [(2, "accepted"), (3, "preparing"), (4, "ready"), (5, "completed")] {
        let answer = client.status(&id, &[], &json!({"status": status})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("etag").unwrap(), format!("\"{version}\""));
        assert!(answer.header("comanda-position").is_some());
        assert_eq!(answer.json()["status"], status);
        assert_eq!(answer.json()["version"], version);
        assert_eq!(answer.json()["number"], 1);
    }
}

#[tokio::test]
async fn given_an_illegal_transition_then_409_names_the_ways_out() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    let problem = client
        .status(&id, &[], &json!({"status": "completed"}))
        .await
        .assert_problem(409, "illegal_transition");
    assert_eq!(problem["current_status"], "placed");
    assert_eq!(problem["allowed"], json!(["accepted", "rejected", "cancelled"]));
    assert_eq!(
        client.get(&format!("/v1/orders/{id}")).await.json()["version"],
        1,
        "nothing changed"
    );
}

#[tokio::test]
async fn given_a_recall_without_a_reason_then_it_is_refused() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    for status in ["accepted", "preparing", "ready"] {
        client.status(&id, &[], &json!({"status": status})).await;
    }
    let recall = client.status(&id, &[], &json!({"status": "preparing"})).await;
    recall.assert_faults(422, "reason_required", &["/reason"]);
    let recall = client
        .status(&id, &[], &json!({"status": "preparing", "reason": "customer"}))
        .await;
    assert_eq!(recall.status, 200);
}

#[tokio::test]
async fn given_a_stale_if_match_then_412_names_the_current_version() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    let accept = json!({"status": "accepted"});
    assert_eq!(client.status(&id, &[("if-match", "\"1\"")], &accept).await.status, 200);
    let stale = client
        .status(&id, &[("if-match", "\"1\"")], &json!({"status": "preparing"}))
        .await;
    assert_eq!(stale.assert_problem(412, "stale_version")["version"], 2);
    // The version is judged before the transition: who is behind must not be told off for it.
    let stale = client
        .status(&id, &[("if-match", "\"1\"")], &json!({"status": "completed"}))
        .await;
    stale.assert_problem(412, "stale_version");
}

#[tokio::test]
async fn given_an_order_that_does_not_exist_then_404() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let accept = json!({"status": "accepted"});
    let unknown = "0198c0de-0000-7000-8000-000000000001";
    client
        .status(unknown, &[], &accept)
        .await
        .assert_problem(404, "order_not_found");
    client
        .status("not-a-uuid", &[], &accept)
        .await
        .assert_problem(404, "order_not_found");
    client
        .get("/v1/orders/not-a-uuid")
        .await
        .assert_problem(404, "order_not_found");
    client
        .get(&format!("/v1/orders/{unknown}/events"))
        .await
        .assert_problem(404, "order_not_found");
}

#[tokio::test]
async fn given_another_process_moved_it_on_then_a_refusal_is_judged_by_the_log() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    let client = here.furnished("acme").await;
    let elsewhere = there.client("acme");
    let id = client.placed().await;
    // Both processes now keep the stream at version 1.
    elsewhere
        .status(&id, &[], &json!({"status": "completed"}))
        .await
        .assert_problem(409, "illegal_transition");
    assert_eq!(
        client.status(&id, &[], &json!({"status": "accepted"})).await.status,
        200
    );

    let next = elsewhere
        .status(&id, &[("if-match", "\"2\"")], &json!({"status": "preparing"}))
        .await;
    assert_eq!(next.status, 200, "{}", next.text);
    let next = client.status(&id, &[], &json!({"status": "ready"})).await;
    assert_eq!(next.status, 200, "{}", next.text);
    assert_eq!(
        elsewhere.get(&format!("/v1/orders/{id}")).await.json()["status"],
        "ready"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_fifty_writers_on_one_order_then_one_wins_and_the_sequences_have_no_gap() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    let client = here.furnished("acme").await;
    let id = client.placed().await;
    let writers: Vec<_> = (0..50)
        .map(|writer| {
            let client = if writer % 2 == 0 {
                here.client("acme")
            } else {
                there.client("acme")
            };
            let id = id.clone();
            tokio::spawn(async move { client.status(&id, &[], &json!({"status": "accepted"})).await })
        })
        .collect();
    let mut accepted = 0;
    for writer in writers {
        let answer = writer.await.unwrap();
        match answer.status.as_u16() {
            200 => accepted += 1,
            409 => drop(answer.assert_problem(409, "illegal_transition")),
            other => panic!("{other}: {}", answer.text),
        }
    }
    assert_eq!(accepted, 1);
    assert_sequences_dense(&platform, &format!("acme/{id}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_fifty_writers_on_one_product_then_each_is_stored_once() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    here.furnished("acme").await;
    let writers: Vec<_> = (0..50)
        .map(|writer| {
            let client = if writer % 2 == 0 {
                here.client("acme")
            } else {
                there.client("acme")
            };
            tokio::spawn(async move {
                let body = json!({"available": writer % 3 == 0});
                client.post("/v1/products/espresso/availability", &body).await
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        let answer = writer.await.unwrap();
        match answer.status.as_u16() {
            200 => versions.push(answer.json()["version"].as_i64().unwrap()),
            503 => drop(answer.assert_problem(503, "contention")),
            other => panic!("{other}: {}", answer.text),
        }
    }
    versions.sort_unstable();
    let expected: Vec<i64> = (2..).take(versions.len()).collect();
    assert_eq!(versions, expected, "every accepted command has a version of its own");
    assert!(versions.len() >= 40, "only {} of 50 got through", versions.len());
    assert_sequences_dense(&platform, "acme/espresso").await;
}

async fn assert_sequences_dense(platform: &Platform, aggregate_id: &str) {
    let mut found = 0;
    for mut connection in platform.connections().await {
        let (count, distinct, last): (i64, i64, i64) = sqlx::query_as(
            "SELECT count(*), count(DISTINCT sequence), coalesce(max(sequence), 0) FROM events WHERE aggregate_id = $1",
        )
        .bind(aggregate_id)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!((count, distinct), (last, last));
        found += count;
    }
    assert!(found >= 2);
}

#[tokio::test]
async fn given_a_shop_then_an_order_may_be_ready_without_being_prepared() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let shop = json!({"name": "Shop", "time_zone": "UTC", "currency": "EUR", "kind": "retail"});
    assert_eq!(client.put("/v1/establishments/shop", &shop).await.status, 201);
    let mut order = small_order();
    order["establishment_id"] = json!("shop");
    let id = client.order(&order).await.json()["id"].as_str().unwrap().to_owned();
    client.status(&id, &[], &json!({"status": "accepted"})).await;
    assert_eq!(client.status(&id, &[], &json!({"status": "ready"})).await.status, 200);
}
