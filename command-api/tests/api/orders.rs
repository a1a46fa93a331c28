//! Placing and reading orders.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::support::{Platform, eur, small_order};

#[tokio::test]
async fn given_a_catalogue_when_the_smallest_order_is_placed_then_it_is_priced_from_it() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;

    let answer = client.order(&small_order()).await;

    assert_eq!(answer.status, 201, "{}", answer.text);
    let order = answer.json();
    assert_eq!(
        answer.header("location").unwrap(),
        format!("/v1/orders/{}", order["id"].as_str().unwrap())
    );
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert!(answer.header("comanda-position").is_some());
    assert!(answer.header("idempotent-replayed").is_none());
    assert_eq!(order["number"], 1);
    assert_eq!(order["version"], 1);
    assert_eq!(order["status"], "placed");
    assert_eq!(order["service_type"], "dine_in");
    assert_eq!(order["table_id"], "t4");
    assert_eq!(order["items"][0]["name"], "Espresso");
    assert_eq!(order["items"][0]["id"], "1");
    assert_eq!(order["items"][0]["catalogue_version"], 1);
    assert_eq!(order["items"][0]["unit_price"], eur(150));
    assert_eq!(order["items"][0]["line_total"], eur(300));
    assert_eq!(order["subtotal"], eur(300));
    assert_eq!(order["tax"], eur(27));
    assert_eq!(order["total"], eur(300));
}

#[tokio::test]
async fn given_orders_of_one_day_then_their_numbers_run_without_gaps() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    for number in 1..=5 {
        assert_eq!(client.order(&small_order()).await.json()["number"], number);
    }
}

#[tokio::test]
async fn given_a_placed_order_when_it_is_read_then_it_is_the_order_that_was_answered() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let body = json!({
        "establishment_id": "roma", "service_type": "delivery", "reference": "R-17", "channel": "web",
        "customer": {"id": "c-1", "name": "Ada", "contact": "+39 1"}, "note": "ring twice",
        "placed_at": "2026-01-31T23:30:00+00:00",
        "items": [{"id": "a", "product_id": "pizza", "quantity": 1, "note": "well done",
                   "modifiers": [{"id": "extra-cheese"}]}],
    });

    let placed = client.order(&body).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    let read = client.get(&format!("/v1/orders/{id}")).await;

    assert_eq!(read.status, 200);
    assert_eq!(read.text, placed.text);
    assert_eq!(read.header("etag"), Some("\"1\""));
    assert_eq!(read.header("comanda-position"), placed.header("comanda-position"));
    let order = read.json();
    assert_eq!(order["placed_at"], "2026-01-31T23:30:00.000000Z");
    assert_eq!(order["business_date"], "2026-02-01", "the day of Rome's calendar");
    assert_eq!(
        order["customer"],
        json!({"id": "c-1", "name": "Ada", "contact": "+39 1"})
    );
    assert_eq!(order["total"], eur(1_000));
}

#[tokio::test]
async fn given_a_current_copy_when_it_is_read_again_then_304() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let path = format!("/v1/orders/{}", client.placed().await);
    let current = client
        .send(Method::GET, &path, &[("if-none-match", "\"1\"")], Body::empty())
        .await;
    assert_eq!((current.status.as_u16(), current.text.as_str()), (304, ""));
    assert_eq!(current.header("etag"), Some("\"1\""));
    let old = client
        .send(Method::GET, &path, &[("if-none-match", "\"7\"")], Body::empty())
        .await;
    assert_eq!(old.status, 200);
}

#[tokio::test]
async fn given_open_items_then_name_and_price_are_the_client_s() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let body = json!({"establishment_id": "roma", "items": [
        {"name": "Imported dish", "unit_price": eur(1_234), "quantity": 3,
         "modifiers": [{"name": "Sauce", "price": eur(10)}]},
        {"product_id": "old-menu-7", "name": "Dish of the old menu", "unit_price": eur(1), "quantity": 1},
    ]});
    let order = client.order(&body).await.json();
    assert_eq!(order["items"][0]["line_total"], eur(3_732));
    assert_eq!(order["items"][1]["product_id"], "old-menu-7");
    assert_eq!(order["total"], eur(3_733));
}

#[tokio::test]
async fn given_a_token_of_one_establishment_then_the_body_need_not_name_it() {
    use service::auth::Scope;
    let api = Platform::start().await.api().await;
    let owner = api.furnished("acme").await;
    let body = json!({"items": [{"product_id": "pizza", "quantity": 1}]});

    let one = api.client_with(api.token("acme", &[Scope::OrdersWrite], Some(&["roma"])));
    assert_eq!(one.order(&body).await.json()["establishment_id"], "roma");
    let two = api.client_with(api.token("acme", &[Scope::OrdersWrite], Some(&["roma", "milano"])));
    two.order(&body)
        .await
        .assert_faults(422, "establishment_required", &["/establishment_id"]);
    owner
        .order(&body)
        .await
        .assert_faults(422, "establishment_required", &["/establishment_id"]);
}

#[tokio::test]
async fn given_a_price_that_changed_then_orders_keep_the_one_they_were_placed_at() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    let dearer = json!({"name": "Espresso", "price": eur(200)});
    assert_eq!(client.put("/v1/products/espresso", &dearer).await.status, 200);

    let later = client.order(&small_order()).await.json();
    assert_eq!(later["total"], eur(400));
    assert_eq!(later["items"][0]["catalogue_version"], 2);
    assert_eq!(client.get(&format!("/v1/orders/{id}")).await.json()["total"], eur(300));
}

#[tokio::test]
async fn given_additive_tax_then_it_is_added_to_the_total() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme");
    let body = json!({"name": "NYC", "time_zone": "America/New_York", "currency": "USD",
                      "tax": {"mode": "additive", "rate_ppm": 88_750}});
    assert_eq!(client.put("/v1/establishments/nyc", &body).await.status, 201);
    let usd = |amount: i64| json!({"amount": amount, "currency": "USD"});
    assert_eq!(
        client
            .put("/v1/products/bagel", &json!({"name": "Bagel", "price": usd(399)}))
            .await
            .status,
        201
    );
    let bagel = json!({"establishment_id": "nyc", "items": [{"product_id": "bagel", "quantity": 1}]});
    let order = client.order(&bagel).await.json();
    assert_eq!((&order["tax"], &order["total"]), (&usd(35), &usd(434)));
}

#[tokio::test]
async fn given_an_order_then_its_events_say_who_what_and_when() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let placed = client.order_with_key("k-1", &small_order()).await.json();
    let id = placed["id"].as_str().unwrap();
    client
        .status(id, &[("x-request-id", "req-9")], &json!({"status": "accepted"}))
        .await;

    let answer = client.get(&format!("/v1/orders/{id}/events")).await;

    assert_eq!(answer.header("etag"), Some("\"2\""));
    let events = &answer.json()["events"];
    assert_eq!(events[0]["type"], "OrderCreated");
    assert_eq!(events[0]["version"], "1.0");
    assert_eq!(events[0]["sequence"], 1);
    assert_eq!(events[0]["number"], 1);
    assert_eq!(events[0]["idempotency_key"], "k-1");
    assert_eq!(events[0]["aggregate_id"], id);
    assert_eq!(events[0]["data"]["totals"]["total"], 300);
    assert_eq!(events[1]["type"], "OrderStatusChanged");
    assert_eq!(events[1]["actor"], "waiter-1");
    assert_eq!(events[1]["tenant_id"], "acme");
    assert_eq!(events[1]["establishment_id"], "roma");
    assert_eq!(events[1]["correlation_id"], "req-9");
    assert_eq!(events[1]["data"]["to"], "accepted");
}
