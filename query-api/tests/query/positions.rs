//! Answers say where they stand, and wait for what their client has written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::{Answer, MODELS, OrderRow, World, create_generation, post, quick, send, slot};
use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use query_api::Progress;
use serde_json::json;
use sqlx::{Connection, PgConnection};

const ORDERS: &str = "{ orders(establishmentId: \"main\") { nodes { number } } }";
const BOTH: &str = "{ orders(establishmentId: \"main\") { nodes { number } }
    dailySales(establishmentId: \"main\", from: \"2026-01-31\", to: \"2026-01-31\") { orders } }";

fn token(incarnation: i32, position: i64) -> String {
    format!("{}.{incarnation}.{position}", slot("dev"))
}

async fn ask(world: &World, router: &Router, query: &str, position: &str) -> Answer {
    let mut request = post(&world.token("dev"), &json!({ "query": query }));
    request
        .headers_mut()
        .insert("comanda-position", position.parse().unwrap());
    send(router, request).await
}

#[tokio::test]
async fn given_checkpoints_then_every_answer_carries_the_furthest_it_showed() {
    let world = World::new().await;
    world.checkpoint("dev", "orders", 1, 12).await;
    world.checkpoint("dev", "daily_sales", 1, 10).await;
    assert_eq!(
        world.query("dev", ORDERS, json!({})).await.header("comanda-position"),
        token(1, 12)
    );
    let both = world.query("dev", BOTH, json!({})).await;
    assert_eq!(
        both.header("comanda-position"),
        token(1, 12),
        "returning it must not lead behind the orders shown"
    );
    let untouched = world.query("dev", "{ __typename }", json!({})).await;
    assert_eq!(untouched.header("comanda-position"), token(1, 0));
    let refused = world.query("dev", "{ nonsense }", json!({})).await;
    assert_eq!(refused.header("comanda-position"), token(1, 0));
    assert_eq!(
        ask(&world, &world.router, "{ __typename }", &token(1, 99))
            .await
            .header("comanda-position"),
        token(1, 99)
    );
    assert_eq!(
        ask(&world, &world.router, ORDERS, &token(1, 3))
            .await
            .header("comanda-position"),
        token(1, 12)
    );
}

#[tokio::test]
async fn given_a_position_that_is_reached_while_waiting_then_the_answer_includes_the_write() {
    let world = World::new().await;
    world.checkpoint("dev", "orders", 1, 4).await;
    let projected = async {
        let mut transaction = world.pool.begin().await.unwrap();
        sqlx::query("UPDATE meta.checkpoints SET slot_position = 5 WHERE read_model = 'orders'")
            .execute(&mut *transaction)
            .await
            .unwrap();
        // Rows and checkpoint commit together.
        sqlx::query(
            "INSERT INTO orders_g1.orders (tenant_id, order_id, establishment_id, number, business_date, status,
                 service_type, currency, subtotal, discount, tax, tip, total, item_count, items, placed_at, updated_at,
                 version)
             VALUES ('dev', gen_random_uuid(), 'main', 42, '2026-01-31', 'placed', 'dine_in', 'EUR', 0, 0, 0, 0, 0, 0,
                 '[]', now(), now(), 1)",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
    };
    let written = token(1, 5);
    let (answer, ()) = tokio::join!(ask(&world, &world.router, ORDERS, &written), projected);
    assert_eq!(answer.data()["orders"]["nodes"], json!([{ "number": 42 }]));
    assert_eq!(answer.header("comanda-position"), token(1, 5));
}

/// A projector that commits as soon as somebody waits for it.
struct Eager {
    pool: sqlx::PgPool,
    waited_for: Arc<AtomicUsize>,
}

impl Progress for Eager {
    fn moved(&self) -> BoxFuture<'static, ()> {
        self.waited_for.fetch_add(1, Ordering::Relaxed);
        let pool = self.pool.clone();
        Box::pin(async move {
            let sql = "UPDATE meta.checkpoints SET slot_position = 7 WHERE read_model = 'orders'";
            sqlx::query(sql).execute(&pool).await.unwrap();
        })
    }
}

#[tokio::test]
async fn given_a_notifier_then_a_waiting_request_wakes_by_it() {
    let world = World::new().await;
    let waited_for = Arc::new(AtomicUsize::new(0));
    let eager = Eager {
        pool: world.pool.clone(),
        waited_for: Arc::clone(&waited_for),
    };
    let router = world.told_by(&quick(), eager);
    let answer = ask(&world, &router, ORDERS, &token(1, 7)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("comanda-position")),
        (200, token(1, 7).as_str())
    );
    assert!(waited_for.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn given_a_watch_channel_then_it_is_a_notifier_that_misses_nothing() {
    let (sender, receiver) = tokio::sync::watch::channel(0);
    let earlier = receiver.moved();
    sender.send_replace(1);
    earlier.await;
    let later = receiver.moved();
    assert!(
        later.now_or_never().is_none(),
        "what was before the call does not count"
    );
}

#[tokio::test]
async fn given_a_position_that_is_not_reached_then_the_answer_says_so() {
    let world = World::with(quick()).await;
    world.checkpoint("dev", "orders", 1, 5).await;
    world.checkpoint("dev", "daily_sales", 1, 3).await;
    assert_eq!(ask(&world, &world.router, ORDERS, &token(1, 5)).await.status, 200);
    let answer = ask(&world, &world.router, BOTH, &token(1, 5)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (503, "POSITION_NOT_REACHED")
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("comanda-position"), token(1, 5));
    let body = answer.json();
    assert!(body.get("data").is_none());
    assert_eq!(body["errors"][0]["extensions"]["readModels"], json!(["daily_sales"]));
}

#[tokio::test]
async fn given_a_timeline_then_its_own_read_model_is_waited_for() {
    let world = World::with(quick()).await;
    OrderRow::new("dev", 1).insert(&world).await;
    world.checkpoint("dev", "orders", 1, 5).await;
    world.checkpoint("dev", "order_timeline", 1, 4).await;
    let order = "{ order(id: \"00000000-0000-0000-0000-000000000001\") { number } }";
    assert_eq!(ask(&world, &world.router, order, &token(1, 5)).await.status, 200);
    let timeline =
        "{ order(id: \"00000000-0000-0000-0000-000000000001\") { ...T } } fragment T on Order { timeline { status } }";
    assert_eq!(
        ask(&world, &world.router, timeline, &token(1, 5)).await.code(),
        "POSITION_NOT_REACHED"
    );
}

#[tokio::test]
async fn given_tokens_that_are_garbage_or_anothers_then_they_are_refused() {
    let world = World::new().await;
    let other = if slot("dev").0 == 0 { 1 } else { 0 };
    for bad in [
        "",
        "x",
        "1.1",
        "1.1.1.1",
        "99999.1.1",
        "-1.1.1",
        &format!("{other}.1.1"),
        &token(0, 1),
        &token(1, -1),
    ] {
        let answer = ask(&world, &world.router, ORDERS, bad).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (400, Some("invalid_parameter")),
            "{bad}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let mut request = post(&world.token("dev"), &json!({ "query": ORDERS }));
    request
        .headers_mut()
        .append("comanda-position", token(1, 0).parse().unwrap());
    request
        .headers_mut()
        .append("comanda-position", token(1, 1).parse().unwrap());
    assert_eq!(world.send(request).await.status, 400);
}

#[tokio::test]
async fn given_a_restored_log_then_the_answer_warns_that_the_write_may_be_lost() {
    let world = World::with(quick()).await;
    world.checkpoint("dev", "orders", 2, 9).await;
    let answer = ask(&world, &world.router, ORDERS, &token(1, 5)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["extensions"]["restored"], true);
    assert_eq!(answer.header("comanda-position"), token(2, 9));
    assert_eq!(
        ask(&world, &world.router, ORDERS, &token(3, 5)).await.code(),
        "POSITION_NOT_REACHED"
    );
}

#[tokio::test]
async fn given_parked_streams_then_their_tenant_is_told_for_the_models_it_touches() {
    let world = World::new().await;
    let park = |tenant: &str| {
        format!(
            "INSERT INTO meta.parked_streams (read_model, generation, tenant_id, aggregate_type, aggregate_id, slot,
                 first_sequence, error) VALUES ('orders', 1, '{tenant}', 'order', '{tenant}/x', {slot}, 1, 'secret');
             UPDATE meta.checkpoints SET parked = parked + 1 WHERE read_model = 'orders' AND slot = {slot};",
            slot = slot("dev").0
        )
    };
    world.execute(&park("neighbour")).await;
    let clean = world.query("dev", ORDERS, json!({})).await;
    assert!(
        clean.json()["extensions"].get("parked").is_none(),
        "a neighbour's in the same slot is not ours"
    );
    world.execute(&park("dev")).await;
    let told = world.query("dev", BOTH, json!({})).await;
    assert_eq!(told.json()["extensions"]["parked"], json!(["orders"]));
    assert!(!told.text.contains("secret"));
    let other = world
        .query("dev", "{ establishments { nodes { key } } }", json!({}))
        .await;
    assert!(other.json()["extensions"].get("parked").is_none());
}

#[tokio::test]
async fn given_a_switch_of_generations_then_requests_read_the_new_one() {
    let world = World::new().await;
    OrderRow::new("dev", 1).insert(&world).await;
    assert_eq!(
        world.query("dev", ORDERS, json!({})).await.data()["orders"]["nodes"],
        json!([{ "number": 1 }])
    );
    let mut connection = PgConnection::connect(&world.url).await.unwrap();
    create_generation(&mut connection, "orders", 2).await;
    world.execute("INSERT INTO orders_g2.orders SELECT tenant_id, order_id, establishment_id, number + 100, business_date,
        reference, status, service_type, channel, table_id, currency, subtotal, discount, tax, tip, total, item_count,
        items, customer_id, customer_name, customer_contact, note, placed_at, updated_at, version FROM orders_g1.orders")
        .await;
    let mut tries = 0;
    loop {
        let data = world.query("dev", ORDERS, json!({})).await.data();
        if data["orders"]["nodes"] == json!([{ "number": 101 }]) {
            break;
        }
        tries += 1;
        assert!(tries < 100_000, "the pointer is looked at again within about a second");
    }
    // The old one is dropped: whoever still points to it is refused for a moment, not failed.
    world.execute("DROP SCHEMA orders_g1 CASCADE").await;
    assert_eq!(world.query("dev", ORDERS, json!({})).await.status, 200);
    assert_eq!(MODELS.len(), 5);
}

#[tokio::test]
async fn given_several_fields_then_they_are_read_from_one_snapshot() {
    let world = World::new().await;
    OrderRow::new("dev", 1).insert(&world).await;
    let version = "order(id: \"00000000-0000-0000-0000-000000000001\") { version }";
    let query = format!("{{ a: {version} b: {version} c: {version} d: {version} }}");
    let writes = async {
        for _ in 0..50 {
            world.execute("UPDATE orders_g1.orders SET version = version + 1").await;
        }
    };
    let reads = async {
        for _ in 0..50 {
            let data = world.query("dev", &query, json!({})).await.data();
            assert!(["b", "c", "d"].iter().all(|key| data[key] == data["a"]), "{data}");
        }
    };
    tokio::join!(writes, reads);
}
