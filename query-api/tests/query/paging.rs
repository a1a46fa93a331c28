//! Pages of any size, walked in either direction, are the list.

use super::support::{OrderRow, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use uuid::Uuid;

const STATUSES: [&str; 4] = ["placed", "ready", "completed", "cancelled"];

const PAGE: &str = "query($f: OrderFilter, $first: Int, $after: String, $last: Int, $before: String) {
    orders(establishmentId: \"main\", filter: $f, first: $first, after: $after, last: $last, before: $before) {
        totalCount edges { cursor node { key } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

#[derive(Debug, Clone)]
struct Case {
    /// Id, second it was placed in (few, so that many share one) and status.
    orders: Vec<(u128, i64, usize)>,
    size: usize,
    status: Option<Vec<usize>>,
}

fn cases() -> impl Strategy<Value = Case> {
    let order = (any::<u128>(), 0..6_i64, 0..STATUSES.len());
    let orders = proptest::collection::vec(order, 0..25);
    let status = proptest::option::of(proptest::collection::vec(0..STATUSES.len(), 1..3));
    (orders, 1..8_usize, status).prop_map(|(orders, size, status)| Case { orders, size, status })
}

#[test]
fn given_any_orders_when_walked_in_pages_then_both_directions_are_the_sorted_list() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::new());
    let tenants = std::cell::Cell::new(0);
    let config = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&cases(), |case| {
        tenants.set(tenants.get() + 1);
        runtime.block_on(check(&world, &format!("tenant-{}", tenants.get()), &case));
        Ok(())
    });
    outcome.unwrap();
}

async fn check(world: &World, tenant: &str, case: &Case) {
    let mut expected = Vec::new();
    for (index, (id, second, status)) in case.orders.iter().enumerate() {
        let number = i64::try_from(index).unwrap() + 1;
        let row = OrderRow {
            id: Uuid::from_u128(*id),
            placed_at: second * 1_000_000,
            status: STATUSES[*status].to_owned(),
            ..OrderRow::new(tenant, number)
        };
        row.insert(world).await;
        if case.status.as_ref().is_none_or(|wanted| wanted.contains(status)) {
            expected.push((-second, row.id));
        }
    }
    expected.sort_unstable();
    let expected: Vec<String> = expected.into_iter().map(|(_, id)| id.to_string()).collect();
    let filter = case.status.as_ref().map(
        |wanted| json!({ "status": wanted.iter().map(|status| STATUSES[*status].to_uppercase()).collect::<Vec<_>>() }),
    );
    let forward = walk(world, tenant, &filter, case.size, &expected, true).await;
    let backward = walk(world, tenant, &filter, case.size, &expected, false).await;
    assert_eq!(forward, expected, "{case:?}");
    assert_eq!(backward, expected, "{case:?}");
}

/// The list as its pages give it, each page's claims about itself checked on the way.
async fn walk(
    world: &World,
    tenant: &str,
    filter: &Option<Value>,
    size: usize,
    expected: &[String],
    forward: bool,
) -> Vec<String> {
    let (mut found, mut cursor): (Vec<String>, Value) = (Vec::new(), Value::Null);
    loop {
        let variables = if forward {
            json!({ "f": filter, "first": size, "after": cursor })
        } else {
            json!({ "f": filter, "last": size, "before": cursor })
        };
        let mut page = world.query(tenant, PAGE, variables).await.data()["orders"].take();
        let info = page["pageInfo"].take();
        let edges = page["edges"].as_array().unwrap();
        let keys: Vec<String> = edges
            .iter()
            .map(|edge| edge["node"]["key"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(page["totalCount"], expected.len());
        assert_eq!(
            info["startCursor"],
            edges.first().map_or(Value::Null, |edge| edge["cursor"].clone())
        );
        assert_eq!(
            info["endCursor"],
            edges.last().map_or(Value::Null, |edge| edge["cursor"].clone())
        );
        let before = if forward {
            found.len()
        } else {
            expected.len().saturating_sub(found.len() + keys.len())
        };
        let after = expected.len() - before - keys.len();
        assert_eq!(info["hasPreviousPage"], before > 0, "forward: {forward}");
        assert_eq!(info["hasNextPage"], after > 0, "forward: {forward}");
        let (more, next) = if forward {
            found.extend(keys);
            (&info["hasNextPage"], &info["endCursor"])
        } else {
            found.splice(0..0, keys);
            (&info["hasPreviousPage"], &info["startCursor"])
        };
        if *more != true {
            return found;
        }
        cursor = next.clone();
    }
}

#[tokio::test]
async fn given_rows_that_come_and_go_then_pages_neither_repeat_nor_skip_the_others() {
    let world = World::new().await;
    for number in 1..=6 {
        OrderRow::new("dev", number).insert(&world).await;
    }
    let first = world.query("dev", PAGE, json!({ "first": 3 })).await.data();
    OrderRow::new("dev", 99).insert(&world).await;
    // The row that the cursor points to leaves the list.
    world
        .execute("DELETE FROM orders_g1.orders WHERE number IN (4, 6)")
        .await;
    let after = first["orders"]["pageInfo"]["endCursor"].clone();
    let second = world
        .query("dev", PAGE, json!({ "first": 3, "after": after }))
        .await
        .data();
    let keys: Vec<_> = second["orders"]["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| edge["node"]["key"].clone())
        .collect();
    let key = |number: u128| json!(Uuid::from_u128(number).to_string());
    assert_eq!(keys, [key(3), key(2), key(1)]);
    assert_eq!(second["orders"]["pageInfo"]["hasPreviousPage"], true);
}

#[tokio::test]
async fn given_page_arguments_that_make_no_sense_then_they_are_refused() {
    let world = World::new().await;
    OrderRow::new("dev", 1).insert(&world).await;
    let page = world.query("dev", PAGE, json!({})).await.data();
    let cursor = page["orders"]["pageInfo"]["endCursor"].clone();
    for variables in [
        json!({ "first": 0 }),
        json!({ "first": -1 }),
        json!({ "first": 101 }),
        json!({ "last": 101 }),
        json!({ "first": 2_147_483_647 }),
        json!({ "first": 1, "last": 1 }),
        json!({ "after": cursor, "last": 1 }),
        json!({ "after": cursor, "before": cursor }),
    ] {
        assert_eq!(
            world.query("dev", PAGE, variables.clone()).await.code(),
            "BAD_USER_INPUT",
            "{variables}"
        );
    }
    for bad in [
        "",
        "garbage",
        "AQAAAAAAAAAA",
        "\u{0}",
        "../../etc/passwd",
        &"A".repeat(10_000),
    ] {
        assert_eq!(
            world.query("dev", PAGE, json!({ "after": bad })).await.code(),
            "INVALID_CURSOR",
            "{bad:?}"
        );
    }
    // A cursor of the same list with another filter, or of another list.
    for variables in [
        json!({ "after": cursor, "f": { "status": ["PLACED"] } }),
        json!({ "before": cursor, "f": { "text": "ada" } }),
    ] {
        assert_eq!(
            world.query("dev", PAGE, variables.clone()).await.code(),
            "INVALID_CURSOR",
            "{variables}"
        );
    }
    let products = "query($c: String) { products(establishmentId: \"main\", after: $c) { nodes { id } } }";
    assert_eq!(
        world.query("dev", products, json!({ "c": cursor })).await.code(),
        "INVALID_CURSOR"
    );
    let elsewhere = "query($c: String) { orders(establishmentId: \"side\", after: $c) { nodes { id } } }";
    assert_eq!(
        world.query("dev", elsewhere, json!({ "c": cursor })).await.code(),
        "INVALID_CURSOR"
    );
}

#[tokio::test]
async fn given_more_rows_than_a_page_then_the_default_page_has_twenty() {
    let world = World::new().await;
    for number in 1..=21 {
        OrderRow::new("dev", number).insert(&world).await;
    }
    let page = world.query("dev", PAGE, json!({})).await.data();
    assert_eq!(page["orders"]["edges"].as_array().unwrap().len(), 20);
    assert_eq!(page["orders"]["pageInfo"]["hasNextPage"], true);
}

#[tokio::test]
async fn given_products_and_establishments_then_they_page_by_key_in_both_directions() {
    let world = World::new().await;
    for key in ["a", "b", "c", "d", "e"] {
        world
            .execute(&format!(
                "INSERT INTO products_g1.products VALUES ('dev', '{key}', NULL, 'x', NULL, 1, 'EUR', true, '[]', 1, now());
                 INSERT INTO establishments_g1.establishments
                     VALUES ('dev', '{key}', 'x', 'UTC', 'EUR', 'inclusive', 0, 'retail', 1, now());"
            ))
            .await;
    }
    for list in ["products(establishmentId: \"a\", ", "establishments("] {
        let page = async |arguments: &str| {
            let query = format!(
                "{{ list: {list}{arguments}) {{ nodes {{ key }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
            );
            let list = world.query("dev", &query, json!({})).await.data()["list"].take();
            let keys: String = list["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|node| node["key"].as_str().unwrap())
                .collect();
            let info = &list["pageInfo"];
            (
                keys,
                info["hasPreviousPage"] == true,
                info["hasNextPage"] == true,
                info.clone(),
            )
        };
        let (keys, previous, next, info) = page("first: 2").await;
        assert_eq!((keys.as_str(), previous, next), ("ab", false, true));
        let (keys, previous, next, info) = page(&format!("first: 2, after: {}", info["endCursor"])).await;
        assert_eq!((keys.as_str(), previous, next), ("cd", true, true));
        let (keys, previous, next, _) = page(&format!("last: 2, before: {}", info["startCursor"])).await;
        assert_eq!((keys.as_str(), previous, next), ("ab", false, true));
        let (keys, previous, next, _) = page("last: 3").await;
        assert_eq!((keys.as_str(), previous, next), ("cde", true, false));
    }
}
