//! Bad input gets a precise refusal and changes nothing.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Client, Platform, eur, small_order};

async fn raw(client: &Client, body: impl Into<Body>) -> crate::support::Answer {
    client
        .send(
            Method::POST,
            "/v1/orders",
            &[("content-type", "application/json")],
            body.into(),
        )
        .await
}

fn order_with(change: impl Fn(&mut Value)) -> Value {
    let mut order = small_order();
    change(&mut order);
    order
}

#[tokio::test]
async fn given_what_is_not_json_then_400() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    for body in ["", "{", "nonsense", "{\"items\": [}", "{} {}", "[1,]", "\u{feff}{}"] {
        raw(&client, body).await.assert_problem(400, "malformed_json");
    }
    raw(&client, &b"{\"table_id\": \"\xff\"}"[..])
        .await
        .assert_problem(400, "invalid_utf8");
    raw(&client, r#"{"items": [], "items": []}"#)
        .await
        .assert_problem(400, "duplicate_key");
    raw(&client, "[".repeat(100_000))
        .await
        .assert_problem(400, "malformed_json");
    assert_eq!(platform.count_events().await, before);
}

#[tokio::test]
async fn given_another_media_type_then_415() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "json",
    ] {
        let body = small_order().to_string();
        let answer = client
            .send(Method::POST, "/v1/orders", &[("content-type", kind)], body.into())
            .await;
        answer.assert_problem(415, "unsupported_media_type");
    }
    let answer = client
        .send(Method::POST, "/v1/orders", &[], small_order().to_string().into())
        .await;
    answer.assert_problem(415, "unsupported_media_type");
    let utf8 = [("content-type", "application/json; charset=utf-8")];
    let answer = client
        .send(Method::POST, "/v1/orders", &utf8, small_order().to_string().into())
        .await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn given_a_body_of_10_mb_then_413() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let body = order_with(|order| order["note"] = json!("x".repeat(10 * 1024 * 1024)));
    raw(&client, body.to_string())
        .await
        .assert_problem(413, "payload_too_large");
}

#[tokio::test]
async fn given_fields_that_are_not_known_then_422_names_them() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let cases = [
        (order_with(|order| order["tabel_id"] = json!("t4")), "/tabel_id"),
        (
            order_with(|order| order["items"][0]["price"] = json!(1)),
            "/items/0/price",
        ),
        (
            order_with(|order| order["customer"] = json!({"email": "a"})),
            "/customer/email",
        ),
        (
            order_with(|order| order["items"][0]["unit_price"] = json!({"amount": 1, "cur": 1})),
            "/items/0/unit_price/cur",
        ),
    ];
    for (body, pointer) in cases {
        client.order(&body).await.assert_faults(422, "invalid_body", &[pointer]);
    }
}

#[tokio::test]
async fn given_values_of_the_wrong_type_then_422_names_them() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let cases = [
        (order_with(|order| order["items"] = json!("x")), "/items"),
        (
            order_with(|order| order["items"][0]["quantity"] = json!("2")),
            "/items/0/quantity",
        ),
        (
            order_with(|order| order["items"][0]["quantity"] = json!(1.5)),
            "/items/0/quantity",
        ),
        (
            order_with(|order| order["items"][0]["quantity"] = json!(-1)),
            "/items/0/quantity",
        ),
        (
            order_with(|order| order["items"][0]["quantity"] = json!(4_294_967_296_i64)),
            "/items/0/quantity",
        ),
        (
            order_with(|order| order["service_type"] = json!("teleport")),
            "/service_type",
        ),
        (order_with(|order| order["table_id"] = json!(4)), "/table_id"),
        (json!([small_order()]), ""),
        (
            order_with(|order| order["items"][0] = json!([null, "espresso", null, null, 1])),
            "/items/0",
        ),
        (
            order_with(|order| order["items"][0]["unit_price"] = json!([1, "EUR"])),
            "/items/0/unit_price",
        ),
        (json!({"establishment_id": "roma"}), ""),
    ];
    for (body, pointer) in cases {
        client.order(&body).await.assert_faults(422, "invalid_body", &[pointer]);
    }
}

#[tokio::test]
async fn given_several_faults_then_all_are_named_at_once() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let body = json!({
        "id": "17", "establishment_id": "ro ma", "table_id": "", "reference": " ", "note": "a\u{0}b",
        "channel": "x".repeat(2_001), "placed_at": "yesterday", "customer": {"id": "ü", "name": ""},
        "items": [
            {"id": "a/b", "product_id": "x".repeat(65), "quantity": 1, "note": "\u{0}"},
            {"name": "", "unit_price": {"amount": -1, "currency": "XXY"}, "quantity": 1,
             "modifiers": [{"id": "", "name": "", "price": {"amount": 9_007_199_254_740_992_i64, "currency": "eur"}}]},
        ],
    });
    let pointers = [
        "/id",
        "/establishment_id",
        "/table_id",
        "/reference",
        "/channel",
        "/note",
        "/placed_at",
        "/customer/id",
        "/customer/name",
        "/items/0/id",
        "/items/0/product_id",
        "/items/0/note",
        "/items/1/name",
        "/items/1/unit_price/amount",
        "/items/1/unit_price/currency",
        "/items/1/modifiers/0/id",
        "/items/1/modifiers/0/name",
        "/items/1/modifiers/0/price/amount",
        "/items/1/modifiers/0/price/currency",
    ];
    let answer = client.order(&body).await;
    let problem = answer.assert_problem(422, "invalid_body");
    let mut named: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    let mut pointers = pointers.to_vec();
    named.sort_unstable();
    pointers.sort_unstable();
    assert_eq!(named, pointers);
    assert_eq!(platform.count_events().await, before);
}

#[tokio::test]
async fn given_orders_that_the_rules_forbid_then_each_is_refused_by_name() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    let before = platform.count_events().await;
    let item = |quantity: i64| json!({"product_id": "espresso", "quantity": quantity});
    let open = |amount: i64| json!({"name": "Gold", "unit_price": eur(amount), "quantity": 10_000});
    let late = service::edge::now().plus_seconds(3_600).to_string();
    let cases = [
        (
            order_with(|order| order["items"] = json!([])),
            "no_items",
            vec!["/items"],
        ),
        (
            order_with(|order| order["items"] = json!(vec![item(1); 501])),
            "too_many_items",
            vec!["/items"],
        ),
        (
            order_with(|order| order["items"] = json!([item(0)])),
            "invalid_quantity",
            vec!["/items/0/quantity"],
        ),
        (
            order_with(|order| order["items"] = json!([item(10_001)])),
            "invalid_quantity",
            vec!["/items/0/quantity"],
        ),
        (
            order_with(|order| order["items"] = json!([open(9_007_199_254_740_991)])),
            "amount_out_of_range",
            vec!["/items"],
        ),
        (
            order_with(|order| order["items"] = json!(vec![open(900_000_000_000); 2])),
            "amount_out_of_range",
            vec!["/items"],
        ),
        (
            order_with(|order| {
                let mut twice = item(1);
                twice["id"] = json!("a");
                order["items"] = json!([twice, twice]);
            }),
            "duplicate_line",
            vec!["/items/1/id"],
        ),
        (
            order_with(|order| order["placed_at"] = json!(late)),
            "placed_in_future",
            vec!["/placed_at"],
        ),
        (
            order_with(|order| order["establishment_id"] = json!("nowhere")),
            "unknown_establishment",
            vec!["/establishment_id"],
        ),
        (
            order_with(|order| {
                order["items"] = json!([{"name": "A", "unit_price": {"amount": 1, "currency": "USD"}, "quantity": 1}]);
            }),
            "currency_mismatch",
            vec!["/items/0/unit_price"],
        ),
    ];
    for (body, code, pointers) in cases {
        client.order(&body).await.assert_faults(422, code, &pointers);
    }
    assert_eq!(platform.count_events().await, before);
}

#[tokio::test]
async fn given_definitions_that_cannot_be_then_each_fault_is_named() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme");
    let body = json!({"name": "", "time_zone": "Mars/Olympus", "currency": "ABC", "tax": {"mode": "additive", "rate_ppm": 1_000_001}});
    let pointers = ["/name", "/time_zone", "/currency", "/tax/rate_ppm"];
    client
        .put("/v1/establishments/x", &body)
        .await
        .assert_faults(422, "invalid_body", &pointers);

    let body = json!({"name": "P", "price": eur(1), "modifiers": [
        {"id": "a", "name": "A", "price": {"amount": 1, "currency": "USD"}}, {"id": "!", "name": "B", "price": eur(-1)}]});
    let pointers = [
        "/modifiers/0/price/currency",
        "/modifiers/1/id",
        "/modifiers/1/price/amount",
    ];
    client
        .put("/v1/products/x", &body)
        .await
        .assert_faults(422, "invalid_body", &pointers);

    let twice = json!({"id": "a", "name": "A", "price": eur(1)});
    let body = json!({"name": "P", "price": eur(1), "modifiers": [twice, twice]});
    client
        .put("/v1/products/x", &body)
        .await
        .assert_faults(422, "duplicate_modifier", &["/modifiers/1/id"]);
    let many: Vec<_> = (0..201)
        .map(|id| json!({"id": format!("m{id}"), "name": "M", "price": eur(1)}))
        .collect();
    let body = json!({"name": "P", "price": eur(1), "modifiers": many});
    client
        .put("/v1/products/x", &body)
        .await
        .assert_faults(422, "too_many_modifiers", &["/modifiers"]);

    for path in ["/v1/products/a%20b", "/v1/establishments/%C3%BC", "/v1/products/a%2Fb"] {
        let answer = client.put(path, &json!({"name": "P", "price": eur(1)})).await;
        assert_eq!(
            answer.assert_problem(400, "invalid_parameter")["parameter"],
            "id",
            "{path}"
        );
    }
}

#[tokio::test]
async fn given_headers_that_cannot_be_read_then_400_names_them() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    let accept = json!({"status": "accepted"});
    let long = "k".repeat(256);
    for (name, value) in [
        ("idempotency-key", ""),
        ("idempotency-key", long.as_str()),
        ("if-match", "2"),
        ("if-match", "\"2"),
        ("if-none-match", "\"1\""),
    ] {
        let problem = client
            .status(&id, &[(name, value)], &accept)
            .await
            .assert_problem(400, "invalid_parameter");
        assert_eq!(problem["parameter"], name, "{value:?}");
    }
    for value in ["x", "1.1", "99999.1.1", "1.1.1 OR 1=1"] {
        let headers = [("comanda-position", value)];
        let answer = client.with(Method::POST, "/v1/orders", &headers, &small_order()).await;
        assert_eq!(
            answer.assert_problem(400, "invalid_parameter")["parameter"],
            "comanda-position"
        );
    }
    assert_eq!(client.get(&format!("/v1/orders/{id}")).await.json()["version"], 1);
}

#[tokio::test]
async fn given_paths_and_methods_that_are_not_there_then_problems_say_so() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    client.get("/v1/nothing").await.assert_problem(404, "not_found");
    let answer = client.send(Method::DELETE, "/v1/orders", &[], Body::empty()).await;
    answer.assert_problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
}
