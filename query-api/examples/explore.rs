//! The query API alone, over a throwaway read store with a few orders in it: to try the explorer
//! page and to run the GraphQL-over-HTTP audit suite against.
//!
//! ```text
//! cargo run --release -p query-api --example explore -- 8081
//! ```

#![allow(clippy::unwrap_used, reason = "a tool for developers: what fails ends it")]

#[path = "../tests/query/support.rs"]
mod support;

use support::{OrderRow, World, insert_catalogue};

#[tokio::main]
async fn main() {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8081".to_owned());
    let world = World::new().await;
    insert_catalogue(&world, "dev", "today").await;
    let statuses = ["placed", "accepted", "preparing", "ready", "completed", "cancelled"];
    for number in 1..=60 {
        let status = statuses[usize::try_from(number).unwrap_or(0) % statuses.len()].to_owned();
        OrderRow {
            status,
            word: "today".to_owned(),
            ..OrderRow::new("dev", number)
        }
        .insert(&world)
        .await;
    }
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    println!("http://{}/graphql", listener.local_addr().unwrap());
    println!("{}", world.token("dev"));
    axum::serve(listener, world.router).await.unwrap();
}
