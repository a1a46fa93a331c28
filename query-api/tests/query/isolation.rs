//! No tenant sees another's data: by any field, argument, cursor, id, header or error text.

use super::support::{Answer, OrderRow, World, insert_catalogue, post, slot};
use serde_json::{Value, json};

/// Two tenants with the same ids, numbers and keys; every text of each names its owner.
async fn world() -> World {
    let world = World::new().await;
    for tenant in ["alpha", "beta"] {
        let word = format!("canary-{tenant}");
        insert_catalogue(&world, tenant, &word).await;
        for number in 1..=5 {
            OrderRow {
                word: word.clone(),
                ..OrderRow::new(tenant, number)
            }
            .insert(&world)
            .await;
        }
    }
    // What only beta has.
    for number in 6..=9 {
        OrderRow {
            word: "canary-beta".to_owned(),
            ..OrderRow::new("beta", number)
        }
        .insert(&world)
        .await;
    }
    world
        .execute(
            "INSERT INTO products_g1.products VALUES
                 ('beta', 'secret', NULL, 'canary-beta', NULL, 1, 'EUR', true, '[]', 1, now());
             INSERT INTO establishments_g1.establishments VALUES
                 ('beta', 'hidden', 'canary-beta', 'UTC', 'EUR', 'inclusive', 0, 'retail', 1, now());
             INSERT INTO daily_sales_g1.days VALUES ('beta', 'hidden', '2026-01-31', 'EUR', 1, 987654321, 1);
             INSERT INTO meta.parked_streams (read_model, generation, tenant_id, aggregate_type, aggregate_id, slot,
                 first_sequence, error) VALUES ('orders', 1, 'beta', 'order', 'beta/x', 0, 1, 'canary-beta');
             UPDATE meta.checkpoints SET parked = 1 WHERE read_model = 'orders';",
        )
        .await;
    world
}

fn clean(answer: &Answer, asked: &str) {
    for place in [answer.text.clone(), format!("{:?}", answer.headers)] {
        assert!(
            !place.contains("canary-beta") && !place.contains("987654321"),
            "{asked}\n{place}"
        );
        assert!(!place.contains("\"parked\""), "{asked}\n{place}");
    }
}

const ORDER: &str = "id key number reference channel note customer { id name contact } \
                     items { id name note modifiers { name } } timeline { actor }";

#[tokio::test]
async fn given_shared_ids_then_each_tenant_sees_its_own_rows_only() {
    let world = world().await;
    let query = format!(
        "{{ orders(establishmentId: \"main\", first: 100) {{ totalCount nodes {{ {ORDER} }} pageInfo {{ hasNextPage endCursor }} }}
            order(id: \"00000000-0000-0000-0000-000000000001\") {{ {ORDER} }}
            orderByNumber(establishmentId: \"main\", date: \"2026-01-31\", number: 1) {{ {ORDER} }}
            products(establishmentId: \"main\", first: 100) {{ totalCount nodes {{ id name modifiers {{ name }} }} }}
            establishments {{ totalCount nodes {{ id name }} }}
            dailySales(establishmentId: \"main\", from: \"2026-01-01\", to: \"2026-12-31\") {{ sales {{ amount }} }} }}"
    );
    let alpha = world.query("alpha", &query, json!({})).await;
    clean(&alpha, &query);
    let data = alpha.data();
    assert_eq!(data["orders"]["totalCount"], 5);
    assert_eq!(data["products"]["totalCount"], 2);
    assert_eq!(data["establishments"]["totalCount"], 2);
    assert!(alpha.text.contains("canary-alpha"));
    let beta = world.query("beta", &query, json!({})).await;
    assert!(beta.text.contains("canary-beta") && !beta.text.contains("canary-alpha"));
    assert_eq!(beta.json()["extensions"]["parked"], json!(["orders"]));
}

#[tokio::test]
async fn given_anothers_ids_and_cursors_in_every_argument_then_nothing_comes_back() {
    let world = world().await;
    let harvest = world
        .query(
            "beta",
            "{ orders(establishmentId: \"main\", first: 2) { edges { cursor node { id key items { id } customer { id } } } pageInfo { endCursor } }
               products(establishmentId: \"main\", first: 1) { pageInfo { endCursor } }
               all: products(establishmentId: \"hidden\") { nodes { id key } }
               establishments(first: 1) { nodes { id key } pageInfo { endCursor } } }",
            json!({}),
        )
        .await;
    let position = harvest.header("comanda-position").to_owned();
    let data = harvest.data();
    let mut strings = Vec::new();
    collect(&data, &mut strings);
    strings.extend(
        [
            "hidden",
            "secret",
            "beta",
            "beta/hidden",
            "' OR tenant_id = 'beta",
            "canary-beta",
        ]
        .map(str::to_owned),
    );
    assert!(strings.len() > 15);

    let queries = [
        format!("query($v: ID!) {{ order(id: $v) {{ {ORDER} }} }}"),
        format!("query($v: ID!) {{ node(id: $v) {{ id ... on Order {{ {ORDER} }} ... on Product {{ name }} ... on Establishment {{ name }} }} }}"),
        format!("query($v: ID!) {{ orderByNumber(establishmentId: $v, date: \"2026-01-31\", number: 6) {{ {ORDER} }} }}"),
        format!("query($v: ID!) {{ orders(establishmentId: $v) {{ totalCount nodes {{ {ORDER} }} }} }}"),
        format!("query($v: String) {{ orders(establishmentId: \"main\", after: $v) {{ nodes {{ {ORDER} }} }} }}"),
        format!("query($v: String) {{ orders(establishmentId: \"main\", last: 5, before: $v) {{ nodes {{ {ORDER} }} }} }}"),
        format!("query($v: String) {{ orders(establishmentId: \"main\", filter: {{ text: $v }}) {{ totalCount nodes {{ {ORDER} }} }} }}"),
        "query($v: ID!) { products(establishmentId: $v) { totalCount nodes { name } } }".to_owned(),
        "query($v: String) { products(establishmentId: \"main\", after: $v) { nodes { name } } }".to_owned(),
        "query($v: String) { products(establishmentId: \"main\", filter: { category: $v }) { nodes { name } } }".to_owned(),
        "query($v: String) { establishments(after: $v) { nodes { name } } }".to_owned(),
        "query($v: String) { establishments(last: 3, before: $v) { nodes { name } } }".to_owned(),
        "query($v: ID!) { dailySales(establishmentId: $v, from: \"2026-01-01\", to: \"2026-12-31\") { sales { amount } } }".to_owned(),
    ];
    for query in &queries {
        for value in &strings {
            let answer = world.query("alpha", query, json!({ "v": value })).await;
            // What the client sent itself may come back in nothing but its own variables' place.
            let asked = format!("{query} with {value}");
            if value.contains("canary-beta") {
                assert!(
                    !answer.text.contains("Ada canary-beta") && !answer.text.contains("note canary-beta"),
                    "{asked}"
                );
                assert!(!answer.text.contains("\"number\""), "{asked}: {}", answer.text);
            } else {
                clean(&answer, &asked);
            }
            assert!(answer.status.as_u16() < 500, "{asked}: {}", answer.text);
        }
    }
    // Anothers' position tells nothing and is refused, unless both live in one slot.
    assert_ne!(slot("alpha"), slot("beta"));
    let mut request = post(
        &world.token("alpha"),
        &json!({ "query": "{ establishments { nodes { name } } }" }),
    );
    request
        .headers_mut()
        .insert("comanda-position", position.parse().unwrap());
    let answer = world.send(request).await;
    assert_eq!(answer.status.as_u16(), 400);
    clean(&answer, "beta's position");
}

#[tokio::test]
async fn given_anothers_cursors_then_they_are_refused_clearly() {
    let world = world().await;
    let query = "query($a: String) { orders(establishmentId: \"main\", first: 1, after: $a) { nodes { number } pageInfo { endCursor } } }";
    let cursor = world.query("beta", query, json!({})).await.data()["orders"]["pageInfo"]["endCursor"].clone();
    assert_eq!(
        world.query("alpha", query, json!({ "a": cursor })).await.code(),
        "INVALID_CURSOR"
    );
    assert_eq!(
        world.query("beta", query, json!({ "a": cursor })).await.data()["orders"]["nodes"][0]["number"],
        8
    );
}

fn collect(value: &Value, strings: &mut Vec<String>) {
    match value {
        Value::String(text) => strings.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, strings)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, strings)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The scan is worth something: a row that lies with the wrong tenant is found.
#[tokio::test]
#[should_panic(expected = "canary-beta")]
async fn given_a_leak_then_the_scan_finds_it() {
    let world = world().await;
    world
        .execute("UPDATE orders_g1.orders SET tenant_id = 'alpha' WHERE tenant_id = 'beta' AND number = 9")
        .await;
    let query = format!("{{ orders(establishmentId: \"main\") {{ nodes {{ {ORDER} }} }} }}");
    clean(&world.query("alpha", &query, json!({})).await, &query);
}
