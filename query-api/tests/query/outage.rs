//! When the read store does not answer, clients are told to come back, at once.

use std::time::{Duration, Instant};

use super::support::{World, post, send, verifier};
use query_api::{PoolOptions, QueryApi, ReadStores};
use serde_json::json;
use service::settings::QuerySettings;

const QUERY: &str = "{ establishments { nodes { key } } }";

#[tokio::test]
async fn given_a_store_that_is_down_then_queries_are_503_and_introspection_still_works() {
    let world = World::new().await;
    let options = PoolOptions {
        acquire_timeout: Duration::from_millis(300),
        ..PoolOptions::default()
    };
    let stores = ReadStores::connect([("gone".to_owned(), "postgres://nobody@127.0.0.1:1/none")], &options).unwrap();
    assert!(stores.health().await[0].fault.is_some());
    let router = query_api::router(QueryApi::new(stores, verifier(), &QuerySettings::default()));
    let ask = async |query: &str| send(&router, post(&world.token("dev"), &json!({ "query": query }))).await;
    let started = Instant::now();
    for _ in 0..20 {
        let answer = ask(QUERY).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.json()["code"], "unavailable");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(!answer.text.contains("127.0.0.1"), "{}", answer.text);
    }
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "only the first waits for a connection"
    );
    assert_eq!(ask("{ __schema { queryType { name } } }").await.status, 200);
    assert_eq!(ask("{ nonsense }").await.code(), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn given_a_store_that_goes_away_and_comes_back_then_so_do_answers() {
    let world = World::new().await;
    assert_eq!(world.query("dev", QUERY, json!({})).await.status, 200);
    world
        .execute("ALTER TABLE establishments_g1.establishments RENAME TO hidden")
        .await;
    assert_eq!(world.query("dev", QUERY, json!({})).await.status, 503);
    world
        .execute("ALTER TABLE establishments_g1.hidden RENAME TO establishments")
        .await;
    assert_eq!(world.query("dev", QUERY, json!({})).await.status, 200);
    world
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'comanda-query-api' AND datname = current_database()")
        .await;
    let mut tries = 0;
    while world.query("dev", QUERY, json!({})).await.status != 200 {
        tries += 1;
        assert!(tries < 100_000, "it rests about a second, then is tried again");
    }
}

#[tokio::test]
async fn given_no_generation_yet_then_queries_are_503() {
    let world = World::new().await;
    world.execute("DELETE FROM meta.read_models").await;
    let router = query_api::router(world.api(&QuerySettings::default()));
    let answer = send(&router, post(&world.token("dev"), &json!({ "query": QUERY }))).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
}

#[tokio::test]
async fn given_a_statement_that_takes_too_long_then_it_is_cut_and_the_client_told_to_wait() {
    let world = World::new().await;
    let options = PoolOptions {
        statement_timeout: Duration::from_millis(50),
        ..PoolOptions::default()
    };
    let stores = ReadStores::connect([("slow".to_owned(), world.url.as_str())], &options).unwrap();
    let router = query_api::router(QueryApi::new(stores, verifier(), &QuerySettings::default()));
    let mut lock = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE establishments_g1.establishments")
        .execute(&mut *lock)
        .await
        .unwrap();
    let answer = send(&router, post(&world.token("dev"), &json!({ "query": QUERY }))).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (503, Some("overloaded"))
    );
}
