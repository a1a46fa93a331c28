//! Generations that a request names, instead of the served ones.

use axum::body::Body;
use http::{Method, Request};
use query_api::{PoolOptions, QueryApi, ReadStores};
use serde_json::json;
use service::Scope;

use super::support::{Answer, OrderRow, World, create_generation, quick, request, send, verifier};

const QUERY: &str = "{ orders(establishmentId: \"main\") { nodes { number } } }";
const BOTH: &str = "{ orders(establishmentId: \"main\") { nodes { number } }
    dailySales(establishmentId: \"main\", from: \"2026-01-01\", to: \"2026-02-01\") { orders } }";
const ANALYST: [Scope; 2] = [Scope::OrdersRead, Scope::EventsRead];

/// One order in the generation that is served, and another in a generation 7 that is not.
async fn world() -> World {
    let world = World::with(quick()).await;
    let mut other = OrderRow::new("dev", 1);
    other.number = 77;
    other.insert(&world).await;
    let mut connection = world.pool.acquire().await.unwrap();
    create_generation(&mut connection, "orders", 7).await;
    world
        .execute(
            "ALTER SCHEMA orders_g1 RENAME TO swapped;
             ALTER SCHEMA orders_g7 RENAME TO orders_g1;
             ALTER SCHEMA swapped RENAME TO orders_g7;
             DELETE FROM order_timeline_g1.entries;
             UPDATE meta.read_models SET generation = 1 WHERE read_model = 'orders'",
        )
        .await;
    OrderRow::new("dev", 1).insert(&world).await;
    world
}

fn asking(token: &str, query: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let authorization = format!("Bearer {token}");
    let mut all = vec![
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/graphql-response+json"),
    ];
    all.extend_from_slice(headers);
    let body = json!({ "query": query }).to_string();
    request(Method::POST, "/graphql", &all, body)
}

async fn ask(world: &World, token: &str, query: &str, headers: &[(&str, &str)]) -> Answer {
    world.send(asking(token, query, headers)).await
}

fn numbers(answer: &Answer) -> Vec<i64> {
    let data = answer.data();
    let nodes = data["orders"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn given_a_generation_named_then_it_is_read_and_the_answer_says_so() {
    let world = world().await;
    let token = world.token_for("dev", None, &ANALYST);
    let served = ask(&world, &token, QUERY, &[]).await;
    assert_eq!((numbers(&served), served.header("comanda-generation")), (vec![1], ""));
    let named = ask(&world, &token, BOTH, &[("comanda-generation", "orders=7")]).await;
    assert_eq!(numbers(&named), [77]);
    assert_eq!(named.header("comanda-generation"), "orders=7");
    assert!(named.header("vary").contains("Comanda-Generation"));
    let both = [("comanda-generation", "daily_sales=1, orders=7")];
    let named = ask(&world, &token, BOTH, &both).await;
    assert_eq!(
        (numbers(&named), named.header("comanda-generation")),
        (vec![77], "orders=7,daily_sales=1")
    );
    assert_eq!(
        numbers(&ask(&world, &token, QUERY, &[]).await),
        [1],
        "nobody else is touched"
    );
}

#[tokio::test]
async fn given_a_position_then_a_named_generation_is_not_judged_by_it() {
    let world = world().await;
    let token = world.token_for("dev", None, &ANALYST);
    let slot = super::support::slot("dev");
    world.checkpoint("dev", "daily_sales", 1, 10).await;
    let position = format!("{slot}.1.10");
    let brought = ("comanda-position", position.as_str());
    let served = ask(&world, &token, QUERY, &[brought]).await;
    assert_eq!(served.code(), "POSITION_NOT_REACHED", "the served generation is judged");
    let named = ask(&world, &token, QUERY, &[brought, ("comanda-generation", "orders=7")]).await;
    assert_eq!(numbers(&named), [77]);
    assert_eq!(
        named.header("comanda-position"),
        position,
        "a client never goes backwards"
    );
    let named = ask(&world, &token, BOTH, &[brought, ("comanda-generation", "orders=7")]).await;
    assert_eq!(numbers(&named), [77], "and the others that it reads have passed");
    world.checkpoint("dev", "daily_sales", 1, 9).await;
    let beyond = format!("{slot}.1.11");
    let headers = [
        ("comanda-position", beyond.as_str()),
        ("comanda-generation", "orders=7"),
    ];
    assert_eq!(ask(&world, &token, BOTH, &headers).await.code(), "POSITION_NOT_REACHED");
}

#[tokio::test]
async fn given_a_named_generation_that_is_ahead_then_the_answer_s_position_does_not_count_it() {
    let world = world().await;
    let slot = super::support::slot("dev");
    world
        .execute(&format!(
            "UPDATE meta.checkpoints SET slot_position = 99, incarnation = 1
             WHERE read_model = 'orders' AND generation = 7 AND slot = {slot}"
        ))
        .await;
    let token = world.token_for("dev", None, &ANALYST);
    let named = ask(&world, &token, QUERY, &[("comanda-generation", "orders=7")]).await;
    assert_eq!(numbers(&named), [77]);
    assert_eq!(named.header("comanda-position"), format!("{slot}.1.0"));
}

#[tokio::test]
async fn given_a_generation_that_is_not_there_or_cannot_be_read_then_400() {
    let world = world().await;
    let token = world.token_for("dev", None, &ANALYST);
    let answer = ask(&world, &token, QUERY, &[("comanda-generation", "orders=8")]).await;
    assert_eq!(answer.status, 400);
    let problem = answer.json();
    assert_eq!(problem["code"], "unknown_generation");
    assert_eq!(
        (&problem["read_model"], &problem["generation"]),
        (&json!("orders"), &json!(8))
    );
    for header in [
        "",
        "orders",
        "orders=x",
        "orders=0",
        "kitchen=1",
        "orders=7,orders=7",
        "orders=7;x=1",
        "orders=7, ",
    ] {
        let answer = ask(&world, &token, QUERY, &[("comanda-generation", header)]).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (400, &json!("invalid_parameter")),
            "{header:?}"
        );
    }
}

#[tokio::test]
async fn given_a_generation_that_is_being_dropped_then_it_cannot_be_named_any_more() {
    let world = world().await;
    let token = world.token_for("dev", None, &ANALYST);
    let named = [("comanda-generation", "orders=7")];
    assert_eq!(numbers(&ask(&world, &token, QUERY, &named).await), [77]);
    world
        .execute("UPDATE meta.generations SET state = 'dropping' WHERE read_model = 'orders' AND generation = 7")
        .await;
    let answer = ask(&world, &token, QUERY, &named).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (400, &json!("unknown_generation"))
    );
}

#[tokio::test]
async fn given_no_right_to_the_log_then_no_generation_can_be_named() {
    let world = world().await;
    let waiter = world.token("dev");
    let answer = ask(&world, &waiter, QUERY, &[("comanda-generation", "orders=7")]).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (403, &json!("missing_scope"))
    );
    assert_eq!(answer.json()["scope"], "events:read");
}

#[tokio::test]
async fn given_another_tenant_then_a_named_generation_shows_it_nothing() {
    let world = world().await;
    let stranger = world.token_for("stranger", None, &ANALYST);
    let answer = ask(&world, &stranger, QUERY, &[("comanda-generation", "orders=7")]).await;
    assert!(numbers(&answer).is_empty());
    let limited = world.token_for("dev", Some(&["side"]), &ANALYST);
    let answer = ask(&world, &limited, QUERY, &[("comanda-generation", "orders=7")]).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn given_several_stores_then_the_one_that_has_the_generation_answers() {
    let (with, without) = (world().await, World::with(quick()).await);
    let urls = [
        ("without".to_owned(), without.url.as_str()),
        ("with".to_owned(), with.url.as_str()),
    ];
    let stores = ReadStores::connect(urls, &PoolOptions::default()).unwrap();
    let router = query_api::router(QueryApi::new(stores, verifier(), &quick()));
    let token = with.token_for("dev", None, &ANALYST);
    for _ in 0..4 {
        let named = send(&router, asking(&token, QUERY, &[("comanda-generation", "orders=7")])).await;
        assert_eq!(numbers(&named), [77]);
    }
    let none = send(&router, asking(&token, QUERY, &[("comanda-generation", "orders=8")])).await;
    assert_eq!(
        (none.status.as_u16(), &none.json()["code"]),
        (400, &json!("unknown_generation"))
    );
}
