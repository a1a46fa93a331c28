//! Defining establishments and products, and how soon orders follow.

use std::time::{Duration, Instant};

use axum::http::Method;
use domain::TenantId;
use event_store::{ShardId, Slot};
use serde_json::{Value, json};
use service::shutdown::Shutdown;

use crate::support::{Client, Platform, eur, small_order};

fn espresso(amount: i64) -> Value {
    json!({"name": "Espresso", "price": eur(amount)})
}

#[tokio::test]
async fn given_a_definition_when_it_is_put_again_then_200_and_a_new_version() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme");
    let first = client.put("/v1/products/espresso", &espresso(150)).await;
    assert_eq!((first.status.as_u16(), first.header("etag")), (201, Some("\"1\"")));
    assert_eq!(first.json()["available"], true);
    let again = client.put("/v1/products/espresso", &espresso(150)).await;
    assert_eq!((again.status.as_u16(), again.header("etag")), (200, Some("\"2\"")));
    let read = client.get("/v1/products/espresso").await;
    assert_eq!(
        (read.text.as_str(), read.header("etag")),
        (again.text.as_str(), Some("\"2\""))
    );
}

#[tokio::test]
async fn given_preconditions_then_a_definition_overwrites_nothing_unseen() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme");
    let put = async |header: (&str, &str)| {
        client
            .with(Method::PUT, "/v1/products/tea", &[header], &espresso(1))
            .await
    };
    put(("if-match", "*")).await.assert_problem(412, "stale_version");
    assert_eq!(put(("if-none-match", "*")).await.status, 201);
    assert_eq!(
        put(("if-none-match", "*")).await.assert_problem(412, "already_exists")["version"],
        1
    );
    assert_eq!(put(("if-match", "\"1\"")).await.status, 200);
    assert_eq!(
        put(("if-match", "\"1\"")).await.assert_problem(412, "stale_version")["version"],
        2
    );
}

#[tokio::test]
async fn given_an_establishment_then_its_currency_never_changes() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let mut roma = json!({"name": "Roma 2", "time_zone": "Europe/Rome", "currency": "USD"});
    client
        .put("/v1/establishments/roma", &roma)
        .await
        .assert_faults(422, "currency_fixed", &["/currency"]);
    roma["currency"] = json!("EUR");
    assert_eq!(client.put("/v1/establishments/roma", &roma).await.status, 200);
    assert_eq!(client.get("/v1/establishments/roma").await.json()["tax"]["rate_ppm"], 0);
}

#[tokio::test]
async fn given_a_product_of_an_establishment_then_it_is_priced_in_its_currency() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let mut body = json!({"name": "Tea", "price": {"amount": 1, "currency": "USD"}, "establishment_id": "roma"});
    client
        .put("/v1/products/tea", &body)
        .await
        .assert_faults(422, "currency_mismatch", &["/price/currency"]);
    body["establishment_id"] = json!("nowhere");
    let refused = client.put("/v1/products/tea", &body).await;
    refused.assert_faults(422, "unknown_establishment", &["/establishment_id"]);
    assert_eq!(client.get("/v1/products/tea").await.status, 404);
}

#[tokio::test]
async fn given_a_product_off_sale_then_redefining_it_does_not_put_it_back() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let off = client
        .post("/v1/products/espresso/availability", &json!({"available": false}))
        .await;
    assert_eq!((off.status.as_u16(), &off.json()["available"]), (200, &json!(false)));
    assert_eq!(
        client.put("/v1/products/espresso", &espresso(1)).await.json()["available"],
        false
    );
    client
        .order(&small_order())
        .await
        .assert_problem(422, "product_unavailable");
    let missing = client
        .post("/v1/products/nothing/availability", &json!({"available": true}))
        .await;
    missing.assert_problem(404, "product_not_found");
}

#[tokio::test]
async fn given_items_that_cannot_be_priced_then_each_is_named() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let milano = json!({"name": "Milano", "time_zone": "Europe/Rome", "currency": "EUR"});
    client.put("/v1/establishments/milano", &milano).await;
    client
        .put(
            "/v1/products/dollar",
            &json!({"name": "D", "price": {"amount": 1, "currency": "USD"}}),
        )
        .await;
    let body = json!({"establishment_id": "milano", "items": [
        {"product_id": "nothing", "quantity": 1},
        {"product_id": "espresso", "quantity": 1},
        {"product_id": "pizza", "quantity": 1},
        {"product_id": "dollar", "quantity": 1},
        {"product_id": "espresso", "quantity": 1, "modifiers": [{"id": "extra-cheese"}]},
        {"quantity": 1},
        {"name": "Open", "quantity": 1},
    ]});
    let pointers = [
        "/items/0/product_id",
        "/items/2/product_id",
        "/items/3/unit_price",
        "/items/4/modifiers",
        "/items/5",
        "/items/6",
    ];
    client
        .order(&body)
        .await
        .assert_faults(422, "unknown_product", &pointers);
    for (index, code) in [
        (2, "product_not_sold_here"),
        (3, "currency_mismatch"),
        (4, "unknown_modifier"),
        (5, "incomplete_item"),
        (6, "incomplete_item"),
    ] {
        let body = json!({"establishment_id": "milano", "items": [body["items"][index]]});
        client.order(&body).await.assert_problem(422, code);
    }
}

#[tokio::test]
async fn given_another_process_defines_a_product_then_it_can_be_ordered_here_at_once() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    let shutdown = Shutdown::new();
    here.command.follow_catalogue(&shutdown);
    let client = there.furnished("acme").await;
    assert_eq!(here.client("acme").order(&small_order()).await.status, 201);
    client.put("/v1/products/new", &espresso(777)).await;
    let body = json!({"establishment_id": "roma", "items": [{"product_id": "new", "quantity": 1}]});
    assert_eq!(here.client("acme").order(&body).await.json()["total"], eur(777));
    shutdown.trigger();
}

#[tokio::test]
async fn given_a_position_token_then_the_price_is_no_older_than_it() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    let shutdown = Shutdown::new();
    here.command.follow_catalogue(&shutdown);
    let elsewhere = there.furnished("acme").await;
    let client = here.client("acme");
    for amount in 200..220 {
        let defined = elsewhere.put("/v1/products/espresso", &espresso(amount)).await;
        let token = defined.header("comanda-position").unwrap();
        let order = client
            .with(
                Method::POST,
                "/v1/orders",
                &[("comanda-position", token)],
                &small_order(),
            )
            .await;
        assert_eq!(order.json()["total"], eur(2 * amount));
    }
    shutdown.trigger();
}

/// Takes away what streams are loaded through, or gives it back.
async fn set_streams_readable(platform: &Platform, readable: bool) {
    let statement = if readable {
        "ALTER VIEW taken_away RENAME TO stream_events"
    } else {
        "ALTER VIEW stream_events RENAME TO taken_away"
    };
    for mut connection in platform.connections().await {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
}

/// Places orders until one is answered as wanted; bounded.
async fn order_until(client: &Client, wanted: impl Fn(&crate::support::Answer) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = client.order(&small_order()).await;
        if wanted(&answer) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "never answered as wanted; last: {}",
            answer.text
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn given_a_confirmed_follower_then_orders_are_priced_from_memory() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let shutdown = Shutdown::new();
    api.command.follow_catalogue(&shutdown);
    priced_from_memory(&platform, &client).await;
    shutdown.trigger();
}

#[tokio::test]
async fn given_a_shard_added_while_it_runs_then_its_tenants_are_priced_from_memory_too() {
    let mut platform = Platform::start().await;
    let api = platform.api().await;
    let shutdown = Shutdown::new();
    api.command.follow_catalogue(&shutdown);
    platform.add_shard_for(7, "nuovo").await;
    let slot = Slot::of(&TenantId::new("nuovo").unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while api.store.shard_of(slot).ok() != Some(ShardId(7)) {
        assert!(Instant::now() < deadline, "the shard is not learnt");
        tokio::task::yield_now().await;
    }
    let client = api.furnished("nuovo").await;
    priced_from_memory(&platform, &client).await;
    shutdown.trigger();
}

/// Orders until one is taken while streams cannot be loaded.
async fn priced_from_memory(platform: &Platform, client: &Client) {
    // An order that sends no position is enough to fill the shelf once the follower is confirmed.
    order_until(client, |answer| answer.status == 201).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        order_until(client, |answer| answer.status == 201).await;
        set_streams_readable(platform, false).await;
        let answer = client.order(&small_order()).await;
        set_streams_readable(platform, true).await;
        if answer.status == 201 {
            return;
        }
        assert!(Instant::now() < deadline, "the log is still read: {}", answer.text);
    }
}

#[tokio::test]
async fn given_no_follower_then_prices_are_read_from_the_log_or_not_at_all() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    assert_eq!(client.order(&small_order()).await.status, 201);
    set_streams_readable(&platform, false).await;
    let answer = client.order(&small_order()).await;
    answer.assert_problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(!answer.text.contains("stream_events"), "nothing internal is told");
    set_streams_readable(&platform, true).await;
    assert_eq!(client.order(&small_order()).await.status, 201);
}

#[tokio::test]
async fn given_a_follower_when_another_process_changes_a_price_then_it_is_followed() {
    let platform = Platform::start().await;
    let (here, there) = (platform.api().await, platform.api().await);
    let elsewhere = there.furnished("acme").await;
    let shutdown = Shutdown::new();
    here.command.follow_catalogue(&shutdown);
    let client = here.client("acme");
    order_until(&client, |answer| answer.status == 201).await;
    for amount in [210, 220, 230] {
        assert_eq!(
            elsewhere.put("/v1/products/espresso", &espresso(amount)).await.status,
            200
        );
        order_until(&client, |answer| answer.json()["total"] == eur(2 * amount)).await;
    }
    shutdown.trigger();
}
