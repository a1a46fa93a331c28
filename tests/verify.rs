//! Read models verified while orders flow, and parked streams, by the shipped binary.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use crate::crash::progress;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

fn printed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {output:?}: {stderr}")
    })
}

async fn execute(platform: &Platform, sql: &str) {
    let mut connection = PgConnection::connect(&platform.run.databases.read_store)
        .await
        .expect("the read store answers");
    let done = connection.execute(sql).await.expect("executed");
    assert!(done.rows_affected() > 0, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_orders_that_flow_then_nothing_differs_until_a_row_is_changed_and_that_one_is_named() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "verify", 3).await;
    let running = load.start(4);
    for _ in 0..3 {
        progress(&load, 40).await;
        let output = platform.comanda(&["projections", "verify", "-o", "json"]);
        let report = printed(&output);
        assert_eq!(
            (output.status.code(), &report["clean"]),
            (Some(0), &json!(true)),
            "{report:#}"
        );
        assert!(report["rows"].as_u64() > Some(40), "{report:#}");
    }

    let tenant = load.names[0].as_str();
    let mut read_store = PgConnection::connect(&platform.run.databases.read_store)
        .await
        .expect("it answers");
    let (order, total): (String, i64) = sqlx::query_as(
        "UPDATE orders_g1.orders SET total = total + 1
          WHERE (tenant_id, order_id) IN (SELECT tenant_id, order_id FROM orders_g1.orders WHERE tenant_id = $1 LIMIT 1)
         RETURNING order_id::text, total",
    )
    .bind(tenant)
    .fetch_one(&mut read_store)
    .await
    .expect("a row was changed");
    let output = platform.comanda(&["projections", "verify", "-o", "ndjson"]);
    running.stop().await;

    let difference = printed(&output);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(difference["key"]["order_id"], order.as_str());
    assert_eq!(
        (&difference["tenant"], &difference["table"]),
        (&json!(tenant), &json!("orders"))
    );
    let column = json!({"column": "total", "expected": (total - 1).to_string(), "found": total.to_string()});
    assert_eq!(difference["columns"], json!([column]));
    let others = platform.comanda(&["projections", "verify", "daily_sales", "products"]);
    assert_eq!(others.status.code(), Some(0), "{others:?}");
    let unknown = platform.comanda(&["projections", "verify", "tables"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

/// Places an order whose number another row holds already, so that `orders` has to park it.
async fn place_clashing(platform: &Platform) -> String {
    let client = platform.client("dev");
    let body = json!({"establishment_id": "main", "items": [{"product_id": "margherita", "quantity": 1}]});
    let first = client.post("/v1/orders", &body).await;
    assert_eq!(first.status, 201, "{}", first.body);
    let (id, number) = (
        first.body["id"].as_str().expect("an id"),
        first.body["number"].as_i64().expect("a number"),
    );
    eventually(Duration::from_secs(30), || async {
        let mut connection = PgConnection::connect(&platform.run.databases.read_store)
            .await
            .expect("it answers");
        let moved = format!(
            "UPDATE orders_g1.orders SET number = {} WHERE order_id = '{id}'",
            number + 1
        );
        let done = connection
            .execute(moved.as_str())
            .await
            .map_err(|error| error.to_string())?;
        if done.rows_affected() == 1 {
            Ok(())
        } else {
            Err("the order has no row yet".to_owned())
        }
    })
    .await;
    let second = client.post("/v1/orders", &body).await;
    assert_eq!(second.status, 201, "{}", second.body);
    second.body["id"].as_str().expect("an id").to_owned()
}

async fn parked(platform: &Platform, order: &str) -> Value {
    eventually(Duration::from_secs(30), || async {
        let output = platform.comanda(&["parked", "list", "--read-model", "orders", "-o", "json"]);
        let rows = printed(&output);
        let stream = format!("order:dev/{order}");
        let row = rows
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["stream"] == stream.as_str()));
        row.cloned().ok_or_else(|| format!("{rows:#}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_parked_orders_then_one_is_retried_and_one_is_given_up() {
    let platform = Platform::start().await;
    let order = place_clashing(&platform).await;
    let row = parked(&platform, &order).await;
    assert_eq!(
        (&row["state"], &row["waiting"], &row["first_sequence"]),
        (&json!("parked"), &json!(1), &json!(1))
    );
    let shown = printed(&platform.comanda(&["parked", "show", &order, "-o", "json"]));
    assert_eq!(shown[0]["events"][0]["content"]["type"], "OrderCreated", "{shown:#}");
    let retry = ["parked", "retry", &order, "-o", "json"];
    assert_eq!(
        platform.comanda(&retry).status.code(),
        Some(3),
        "the other row still has its number"
    );

    execute(
        &platform,
        "UPDATE orders_g1.orders SET number = number - 1 WHERE tenant_id = 'dev'",
    )
    .await;
    let retried = platform.comanda(&retry);
    assert_eq!(
        (retried.status.code(), &printed(&retried)["freed_streams"]),
        (Some(0), &json!(1))
    );
    let verified = platform.comanda(&["projections", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert_eq!(
        platform.comanda(&retry).status.code(),
        Some(1),
        "it is parked no longer"
    );

    let order = place_clashing(&platform).await;
    parked(&platform, &order).await;
    let drop = platform.comanda(&["parked", "drop", &order]);
    assert_eq!(drop.status.code(), Some(2), "{drop:?}");
    assert_eq!(parked(&platform, &order).await["state"], "parked");
    let drop = platform.comanda(&["parked", "drop", &order, "--yes"]);
    assert_eq!(drop.status.code(), Some(0), "{drop:?}");
    assert_eq!(parked(&platform, &order).await["state"], "dropped");
    let highest = "UPDATE orders_g1.orders SET number = number - 1
                    WHERE number = (SELECT max(number) FROM orders_g1.orders WHERE tenant_id = 'dev')";
    execute(&platform, highest).await;
    let verified = platform.comanda(&["projections", "verify", "--tenant", "dev"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}
