//! Prices without an order.

use axum::http::Method;
use serde_json::{Value, json};
use service::auth::Scope;

use crate::support::{Platform, eur, small_order};

const QUOTE: &str = "/v1/orders/quote";

#[tokio::test]
async fn given_an_order_when_it_is_quoted_then_it_costs_what_placing_it_would_and_nothing_is_stored() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let mut order = small_order();
    order["items"] = json!([
        {"product_id": "espresso", "quantity": 2},
        {"product_id": "pizza", "quantity": 1, "modifiers": [{"id": "extra-cheese"}], "note": "well done"},
        {"name": "Corkage", "unit_price": eur(500), "quantity": 1},
    ]);
    order["placed_at"] = json!("2026-01-31T23:30:00Z");

    let quote = client.post(QUOTE, &order).await;

    assert_eq!(quote.status, 200, "{}", quote.text);
    assert_eq!(quote.header("comanda-position"), None);
    assert_eq!(platform.count_events().await, before);
    let quote = quote.json();
    assert_eq!(
        (&quote["total"], &quote["business_date"]),
        (&eur(1_800), &json!("2026-02-01"))
    );
    let placed = client.order(&order).await.json();
    for (name, value) in quote.as_object().unwrap() {
        assert_eq!(&placed[name], value, "{name}");
    }
    for name in ["id", "number", "version", "status"] {
        assert_eq!(quote[name], Value::Null, "{name}");
    }
}

#[tokio::test]
async fn given_what_placing_would_refuse_then_the_quote_refuses_it_alike() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut order = small_order();
        change(&mut order);
        order
    };
    let bodies = [
        refused(&|order| order["items"] = json!([])),
        refused(&|order| order["items"][0]["product_id"] = json!("unknown")),
        refused(&|order| order["establishment_id"] = json!("nowhere")),
        refused(&|order| order["placed_at"] = json!("2999-01-01T00:00:00Z")),
        refused(&|order| order["items"][0]["quantity"] = json!("two")),
        refused(&|order| order["coupon"] = json!("X")),
    ];
    for body in bodies {
        let (quote, placed) = (client.post(QUOTE, &body).await, client.order(&body).await);
        assert_eq!(quote.status, 422, "{}", quote.text);
        assert_eq!(quote.json(), placed.json());
    }
    let waiter = api.client_with(api.token("acme", &[Scope::OrdersWrite], None));
    let open = json!({"establishment_id": "roma", "items": [{"name": "Tea", "unit_price": eur(1), "quantity": 1}]});
    assert_eq!(
        waiter.post(QUOTE, &open).await.assert_problem(403, "missing_scope")["scope"],
        "catalog:write"
    );
}

#[tokio::test]
async fn given_an_order_that_exists_then_it_can_still_be_quoted() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let mut order = small_order();
    order["id"] = json!(client.placed().await);
    assert_eq!(client.post(QUOTE, &order).await.status, 200);
}

#[tokio::test]
async fn given_a_price_changed_by_another_process_when_the_quote_carries_its_position_then_it_is_in() {
    let platform = Platform::start().await;
    let (api, other) = (platform.api().await, platform.api().await);
    let client = api.furnished("acme").await;
    assert_eq!(client.post(QUOTE, &small_order()).await.json()["total"], eur(300));
    let dearer = json!({"name": "Espresso", "price": eur(200)});
    let changed = other.client("acme").put("/v1/products/espresso", &dearer).await;
    let position = [("comanda-position", changed.header("comanda-position").unwrap())];
    let quote = client.with(Method::POST, QUOTE, &position, &small_order()).await;
    assert_eq!(quote.json()["total"], eur(400));
}
