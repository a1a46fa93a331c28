//! Read models rebuilt while orders flow and queries are asked, by the shipped binary, killed on the
//! way.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::concurrency::assert_guarantees;
use crate::crash::progress;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::load::{ESTABLISHMENT, Load};
use crate::support::platform::{BINARY, Platform};
use crate::support::topology::Topology;

const REBUILD: [&str; 6] = ["projections", "rebuild", "--all", "--workers", "1", "-ojson"];

fn spawn(platform: &Platform) -> Child {
    Command::new(BINARY)
        .args(REBUILD)
        .arg("--data")
        .arg(platform.data())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs")
}

/// Waits until the read store says yes.
async fn holds(platform: &Platform, what: &str) {
    let store = sqlx::PgPool::connect(&platform.run.databases.read_store)
        .await
        .expect("the read store answers");
    eventually(Duration::from_secs(30), || async {
        let found: bool = sqlx::query_scalar(&format!("SELECT EXISTS ({what})"))
            .fetch_one(&store)
            .await
            .expect("an answer");
        if found { Ok(()) } else { Err(format!("never: {what}")) }
    })
    .await;
    store.close().await;
}

#[derive(Debug, Default)]
struct Reads {
    answered: AtomicU64,
    stop: AtomicBool,
}

/// Asks how many orders there are, again and again, never accepting less than was shown before.
async fn read(client: Client, reads: Arc<Reads>) {
    let query = "query ($establishment: ID!) { orders(establishmentId: $establishment, first: 1) { totalCount edges { node { key total { amount } } } } }";
    let (mut most, mut position) = (0, None);
    while !reads.stop.load(Ordering::Relaxed) {
        let mut request = client
            .request("POST", "/graphql")
            .json(&json!({"query": query, "variables": {"establishment": ESTABLISHMENT}}));
        if let Some(position) = &position {
            request = request.header("comanda-position", position);
        }
        let answer = Client::send(request).await;
        assert_eq!(
            (answer.status, answer.body.get("errors")),
            (200, None),
            "{}",
            answer.body
        );
        let count = answer.body["data"]["orders"]["totalCount"].as_i64().expect("a count");
        assert!(count >= most, "{count} orders after {most}");
        most = count;
        position = answer.header("comanda-position").map(str::to_owned);
        reads.answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn printed(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn given_orders_and_queries_when_rebuilt_and_killed_three_times_then_it_resumes_and_nothing_shows() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "rebuild", 4).await;
    let running = load.start_paced(4, Duration::from_millis(20));
    progress(&load, 200).await;
    let reads = Arc::new(Reads::default());
    let readers: Vec<_> = load.clients[..2]
        .iter()
        .map(|client| tokio::spawn(read(client.clone(), Arc::clone(&reads))))
        .collect();

    // While it begins, after it has filled something, and while it is verified.
    for step in [
        "SELECT FROM meta.rebuilds",
        "SELECT FROM meta.checkpoints WHERE generation = 2 AND slot_position > 0",
        "SELECT FROM meta.rebuilds WHERE state = 'verifying'",
    ] {
        let mut rebuild = spawn(&platform);
        holds(&platform, step).await;
        rebuild.kill().expect("killed");
        rebuild.wait().expect("reaped");
    }
    let interrupted = printed(&platform.comanda(&["projections", "list", "-o", "json"]));
    assert_eq!(interrupted.as_array().map(Vec::len), Some(10), "{interrupted:#}");
    let done = platform.comanda(&REBUILD);

    let rebuilt = printed(&done);
    assert_eq!(done.status.code(), Some(0), "{rebuilt:#}");
    for it in rebuilt.as_array().expect("read models") {
        assert_eq!(
            (&it["generation"], &it["outcome"]),
            (&json!(2), &json!("switched")),
            "{it:#}"
        );
        assert!(it["rows_verified"].as_i64() > Some(0), "{it:#}");
        assert!(
            it["tenants_compared"].as_i64() >= Some(4),
            "fingerprints are equal: {it:#}"
        );
    }
    progress(&load, 50).await;
    let back = platform.comanda(&["projections", "rollback", "orders", "-o", "json"]);
    assert_eq!(printed(&back)["to"], 1, "{back:?}");
    let forth = platform.comanda(&["projections", "switch", "orders", "-o", "json"]);
    assert_eq!(printed(&forth)["to"], 2, "{forth:?}");
    let answered = reads.answered.load(Ordering::Relaxed);
    progress(&load, 50).await;
    assert!(reads.answered.load(Ordering::Relaxed) > answered);
    reads.stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("no read failed or went backwards");
    }
    running.stop().await;
    assert_guarantees(&platform, &load).await;
    let lag = printed(&platform.comanda(&["projections", "lag", "-o", "json"]));
    assert!(
        lag.as_array()
            .is_some_and(|all| all.iter().all(|it| it["generation"] == 2)),
        "{lag:#}"
    );
}
