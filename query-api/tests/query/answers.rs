//! What the fields answer.

use super::support::{OrderRow, World, insert_catalogue};
use serde_json::{Value, json};
use service::Scope;

async fn world() -> World {
    let world = World::new().await;
    insert_catalogue(&world, "dev", "plain").await;
    for number in 1..=3 {
        OrderRow::new("dev", number).insert(&world).await;
    }
    world
}

#[tokio::test]
async fn given_an_order_when_everything_of_it_is_selected_then_every_field_has_its_value() {
    let world = world().await;
    let query = "query($id: ID!) { order(id: $id) {
        key number reference businessDate establishmentId status serviceType channel tableId itemCount note version
        placedAt updatedAt
        subtotal { amount currency } discount { amount } tax { amount } tip { amount } total { amount currency }
        customer { key name contact }
        items { key productId name quantity unitPrice { amount currency } lineTotal { amount } note
                modifiers { key name price { amount currency } } }
        timeline { sequence type fromStatus status reason actor occurredAt recordedAt } } }";
    let key = "00000000-0000-0000-0000-000000000001";
    let order = world.query("dev", query, json!({ "id": key })).await.data()["order"].take();
    assert_eq!(
        order,
        json!({
            "key": key, "number": 1, "reference": "ref plain", "businessDate": "2026-01-31",
            "establishmentId": "main", "status": "PLACED", "serviceType": "DINE_IN", "channel": "pos plain",
            "tableId": "T1", "itemCount": 3, "note": "note plain", "version": 2,
            "placedAt": "2026-01-01T00:00:01.000000Z", "updatedAt": "2026-02-01T10:00:00.000000Z",
            "subtotal": { "amount": 1000, "currency": "EUR" }, "discount": { "amount": 100 },
            "tax": { "amount": 82 }, "tip": { "amount": 50 }, "total": { "amount": 950, "currency": "EUR" },
            "customer": { "key": "cust", "name": "Ada plain", "contact": "+49 plain" },
            "items": [
                { "key": "1", "productId": "espresso", "name": "Espresso plain", "quantity": 2,
                  "unitPrice": { "amount": 250, "currency": "EUR" }, "lineTotal": { "amount": 600 },
                  "note": "hot plain",
                  "modifiers": [{ "key": "oat", "name": "Oat plain", "price": { "amount": 50, "currency": "EUR" } }] },
                { "key": "2", "productId": null, "name": "Open item", "quantity": 1,
                  "unitPrice": { "amount": 400, "currency": "EUR" }, "lineTotal": { "amount": 400 }, "note": null,
                  "modifiers": [] },
            ],
            "timeline": [
                { "sequence": 1, "type": "OrderCreated", "fromStatus": null, "status": "PLACED", "reason": null,
                  "actor": "actor plain", "occurredAt": "2026-01-31T12:00:00.000000Z",
                  "recordedAt": "2026-01-31T12:00:00.500000Z" },
                { "sequence": 2, "type": "OrderStatusChanged", "fromStatus": "PLACED", "status": "PLACED",
                  "reason": "OTHER", "actor": "actor plain", "occurredAt": "2026-01-31T12:00:01.000000Z",
                  "recordedAt": "2026-01-31T12:00:02.000000Z" },
            ],
        })
    );
}

#[tokio::test]
async fn given_an_id_of_either_kind_then_the_same_object_is_found() {
    let world = world().await;
    let key = "00000000-0000-0000-0000-000000000002";
    let by_key = world
        .query(
            "dev",
            "query($id: ID!) { order(id: $id) { id number } }",
            json!({ "id": key }),
        )
        .await;
    let id = by_key.data()["order"]["id"].clone();
    let by_id = world
        .query("dev", "query($id: ID!) { order(id: $id) { key } }", json!({ "id": id }))
        .await;
    assert_eq!(by_id.data()["order"]["key"], key);
    let node = world
        .query(
            "dev",
            "query($id: ID!) { node(id: $id) { __typename id ... on Order { number } } }",
            json!({ "id": id }),
        )
        .await;
    assert_eq!(
        node.data()["node"],
        json!({ "__typename": "Order", "id": id, "number": 2 })
    );

    let list = world
        .query("dev", "{ establishments { nodes { id key } } }", json!({}))
        .await
        .data();
    let establishment = list["establishments"]["nodes"][0].clone();
    let query = "query($e: ID!) { orders(establishmentId: $e) { totalCount }
                 products(establishmentId: $e) { nodes { id } }
                 dailySales(establishmentId: $e, from: \"2026-01-31\", to: \"2026-01-31\") { orders } }";
    let by_key = world
        .query("dev", query, json!({ "e": establishment["key"] }))
        .await
        .data();
    let by_id = world
        .query("dev", query, json!({ "e": establishment["id"] }))
        .await
        .data();
    assert_eq!(by_key, by_id);
    assert_eq!(by_key["orders"]["totalCount"], 3);
    for id in [&establishment["id"], &by_key["products"]["nodes"][0]["id"]] {
        let query = "query($id: ID!) { node(id: $id) { id ... on Product { name } ... on Establishment { name } } }";
        assert_eq!(
            world.query("dev", query, json!({ "id": id })).await.data()["node"]["id"],
            *id
        );
    }
}

#[tokio::test]
async fn given_ids_that_are_none_then_they_are_refused_and_unknown_ones_are_null() {
    let world = world().await;
    let order = "query($id: ID!) { order(id: $id) { id } }";
    for bad in ["", "42", "not a uuid", "RXN0YWJsaXNobWVudDptYWluOg==", "T3JkZXI6eA=="] {
        assert_eq!(
            world.query("dev", order, json!({ "id": bad })).await.code(),
            "INVALID_ID",
            "{bad}"
        );
    }
    let unknown = "00000000-0000-0000-0000-0000000000ff";
    assert_eq!(
        world.query("dev", order, json!({ "id": unknown })).await.data()["order"],
        Value::Null
    );
    let node = "query($id: ID!) { node(id: $id) { id } }";
    assert_eq!(
        world.query("dev", node, json!({ "id": unknown })).await.code(),
        "INVALID_ID"
    );
    let none = world
        .query(
            "dev",
            "{ orders(establishmentId: \"nowhere\") { nodes { id } totalCount } }",
            json!({}),
        )
        .await;
    assert_eq!(none.data()["orders"], json!({ "nodes": [], "totalCount": 0 }));
}

#[tokio::test]
async fn given_a_number_and_a_day_then_the_order_is_found() {
    let world = world().await;
    let query = "query($n: Int!, $d: Date!) { orderByNumber(establishmentId: \"main\", date: $d, number: $n) { key } }";
    let found = world
        .query("dev", query, json!({ "n": 3, "d": "2026-01-31" }))
        .await
        .data();
    assert_eq!(found["orderByNumber"]["key"], "00000000-0000-0000-0000-000000000003");
    for (number, date) in [(4, "2026-01-31"), (3, "2026-01-30"), (-1, "2026-01-31")] {
        let none = world
            .query("dev", query, json!({ "n": number, "d": date }))
            .await
            .data();
        assert_eq!(none["orderByNumber"], Value::Null);
    }
}

#[tokio::test]
async fn given_filters_then_they_add_up() {
    let world = world().await;
    for (number, status, word) in [
        (10, "ready", "birthday"),
        (11, "ready", "plain"),
        (12, "completed", "birthday"),
        (13, "cancelled", "x"),
    ] {
        let row = OrderRow {
            status: status.to_owned(),
            word: word.to_owned(),
            ..OrderRow::new("dev", number)
        };
        row.insert(&world).await;
    }
    let numbers = async |filter: Value| {
        let query = "query($f: OrderFilter) { orders(establishmentId: \"main\", filter: $f) { nodes { number } } }";
        let data = world.query("dev", query, json!({ "f": filter })).await.data();
        let nodes = data["orders"]["nodes"].as_array().unwrap().clone();
        nodes
            .iter()
            .map(|node| node["number"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(json!({})).await, [13, 12, 11, 10, 3, 2, 1]);
    assert_eq!(numbers(json!({ "status": [] })).await.len(), 7);
    assert_eq!(numbers(json!({ "status": ["READY"] })).await, [11, 10]);
    assert_eq!(
        numbers(json!({ "status": ["READY", "COMPLETED", "READY"] })).await,
        [12, 11, 10]
    );
    assert_eq!(numbers(json!({ "text": "birthday" })).await, [12, 10]);
    assert_eq!(numbers(json!({ "text": "ada espresso birthday" })).await, [12, 10]);
    assert_eq!(numbers(json!({ "text": "birthday -espresso" })).await, [0_i64; 0]);
    assert_eq!(numbers(json!({ "text": "birthday", "status": ["READY"] })).await, [10]);
    let (from, to) = ("2026-01-01T00:00:02Z", "2026-01-01T01:00:11+01:00");
    assert_eq!(
        numbers(json!({ "from": from, "to": to })).await,
        [10, 3, 2],
        "from is included, to is not"
    );
}

#[tokio::test]
async fn given_hostile_text_then_it_is_refused_or_finds_nothing() {
    let world = world().await;
    let query = "query($t: String) { orders(establishmentId: \"main\", filter: { text: $t }) { nodes { number } } }";
    for text in ["", "   ", "a\u{0}b", &"x".repeat(201)] {
        assert_eq!(
            world.query("dev", query, json!({ "t": text })).await.code(),
            "BAD_USER_INPUT",
            "{text:?}"
        );
    }
    for text in ["'", "& | !", "\"", "((", "\\", "' OR 1=1 --", "%_%", ":*"] {
        let data = world.query("dev", query, json!({ "t": text })).await.data();
        assert_eq!(data["orders"]["nodes"], json!([]), "{text}");
    }
}

#[tokio::test]
async fn given_days_then_the_report_rounds_half_up_and_leaves_empty_days_out() {
    let world = world().await;
    let query = "query($from: Date!, $to: Date!) { dailySales(establishmentId: \"main\", from: $from, to: $to) {
        date orders sales { amount currency } averageTicket { amount currency } uniqueCustomers } }";
    let data = world
        .query("dev", query, json!({ "from": "2026-01-01", "to": "2026-02-28" }))
        .await
        .data();
    assert_eq!(
        data["dailySales"],
        json!([
            { "date": "2026-01-30", "orders": 4, "sales": { "amount": 4250, "currency": "EUR" },
              "averageTicket": { "amount": 1063, "currency": "EUR" }, "uniqueCustomers": 2 },
            { "date": "2026-01-31", "orders": 3, "sales": { "amount": 1000, "currency": "EUR" },
              "averageTicket": { "amount": 333, "currency": "EUR" }, "uniqueCustomers": 1 },
        ])
    );
    let edges = world
        .query("dev", query, json!({ "from": "2026-01-30", "to": "2026-01-31" }))
        .await
        .data();
    assert_eq!(edges, data, "both ends are included");
    for (from, to) in [("2026-02-01", "2026-01-01"), ("2020-01-01", "2026-01-01")] {
        assert_eq!(
            world
                .query("dev", query, json!({ "from": from, "to": to }))
                .await
                .code(),
            "BAD_USER_INPUT"
        );
    }
    let malformed = world
        .query("dev", query, json!({ "from": "yesterday", "to": "2026-01-01" }))
        .await;
    assert_eq!(malformed.code(), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn given_the_catalogue_then_an_establishment_lists_what_it_sells() {
    let world = world().await;
    let query = "query($e: ID!, $f: ProductFilter) { products(establishmentId: $e, filter: $f) { totalCount nodes {
        key establishmentId name category available version updatedAt price { amount currency }
        modifiers { key name price { amount } } } } }";
    let data = world.query("dev", query, json!({ "e": "main" })).await.data();
    assert_eq!(
        data["products"],
        json!({ "totalCount": 2, "nodes": [
            { "key": "espresso", "establishmentId": null, "name": "Espresso plain", "category": "Coffee",
              "available": true, "version": 1, "updatedAt": "2026-01-01T00:00:00.000000Z",
              "price": { "amount": 250, "currency": "EUR" },
              "modifiers": [{ "key": "oat", "name": "Oat plain", "price": { "amount": 50 } }] },
            { "key": "main-only", "establishmentId": "main", "name": "Main only plain", "category": null,
              "available": false, "version": 2, "updatedAt": "2026-01-01T00:00:00.000000Z",
              "price": { "amount": 300, "currency": "EUR" }, "modifiers": [] },
        ] })
    );
    let keys = async |establishment: &str, filter: Value| {
        let data = world
            .query("dev", query, json!({ "e": establishment, "f": filter }))
            .await
            .data();
        let nodes = data["products"]["nodes"].as_array().unwrap().clone();
        nodes
            .iter()
            .map(|node| node["key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys("side", json!({ "category": "Coffee" })).await,
        ["espresso", "side-only"]
    );
    assert_eq!(keys("main", json!({ "available": false })).await, ["main-only"]);

    let query = "{ establishments { nodes { key name timeZone currency taxMode taxRatePpm kind version } } }";
    let data = world.query("dev", query, json!({})).await.data();
    assert_eq!(
        data["establishments"]["nodes"][1],
        json!({ "key": "side", "name": "Side plain", "timeZone": "Europe/Rome", "currency": "EUR",
                "taxMode": "ADDITIVE", "taxRatePpm": 88750, "kind": "RETAIL", "version": 3 })
    );
}

#[tokio::test]
async fn given_a_token_for_one_establishment_then_it_sees_that_one_only() {
    let world = world().await;
    let elsewhere = OrderRow {
        establishment: "side".to_owned(),
        ..OrderRow::new("dev", 50)
    };
    elsewhere.insert(&world).await;
    let token = world.token_for("dev", Some(&["main"]), &[Scope::OrdersRead]);
    for refused in [
        "{ orders(establishmentId: \"side\") { nodes { id } } }",
        "{ products(establishmentId: \"side\") { nodes { id } } }",
        "{ dailySales(establishmentId: \"side\", from: \"2026-01-31\", to: \"2026-01-31\") { orders } }",
        "{ orders(establishmentId: \"never-heard-of\") { nodes { id } } }",
    ] {
        let answer = world.query_as(&token, refused, json!({})).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (403, "ESTABLISHMENT_FORBIDDEN"),
            "{refused}"
        );
        assert!(answer.json().get("data").is_none());
    }
    let order = format!("{{ order(id: \"{}\") {{ id }} }}", elsewhere.id);
    assert_eq!(
        world.query_as(&token, &order, json!({})).await.data()["order"],
        Value::Null
    );
    assert_ne!(world.query("dev", &order, json!({})).await.data()["order"], Value::Null);
    let list = world
        .query_as(&token, "{ establishments { nodes { key } totalCount } }", json!({}))
        .await
        .data();
    assert_eq!(
        list["establishments"],
        json!({ "nodes": [{ "key": "main" }], "totalCount": 1 })
    );
    let mixed = "{ mine: orders(establishmentId: \"main\") { totalCount }
                   order(id: \"00000000-0000-0000-0000-000000000001\") { number } }";
    assert_eq!(
        world.query_as(&token, mixed, json!({})).await.data()["order"]["number"],
        1
    );
}

#[tokio::test]
async fn given_several_fields_then_the_answer_keeps_the_documents_order() {
    let world = world().await;
    let query = "{ z: establishments { nodes { key } } a: __typename
                   m: orders(establishmentId: \"main\") { nodes { number } } ...F } fragment F on Query { b: __typename }";
    for _ in 0..5 {
        let text = world.query("dev", query, json!({})).await.text;
        let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap();
        assert!(at("z") < at("a") && at("a") < at("m") && at("m") < at("b"), "{text}");
    }
    let skipped = world
        .query("dev", "{ order(id: \"x\") @skip(if: true) { id } }", json!({}))
        .await;
    assert_eq!(skipped.data(), json!({}));
}

#[tokio::test]
async fn given_a_row_that_cannot_be_shown_then_the_error_says_nothing_of_why() {
    let world = world().await;
    world
        .execute("UPDATE orders_g1.orders SET status = 'teleported' WHERE number = 1")
        .await;
    let answer = world
        .query(
            "dev",
            "{ order(id: \"00000000-0000-0000-0000-000000000001\") { number status } }",
            json!({}),
        )
        .await;
    assert_eq!(answer.code(), "INTERNAL_SERVER_ERROR");
    assert_eq!(
        answer.json()["data"],
        json!({ "order": null }),
        "an order without its status is none"
    );
    assert!(!answer.text.contains("teleported"), "{}", answer.text);
    let list = "{ orders(establishmentId: \"main\") { nodes { number status } } }";
    let answer = world.query("dev", list, json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["data"].clone()),
        (200, Value::Null)
    );
    let healthy = "{ orders(establishmentId: \"main\", first: 2) { nodes { number status } } }";
    assert_eq!(
        world.query("dev", healthy, json!({})).await.data()["orders"]["nodes"][1]["number"],
        2
    );
}
