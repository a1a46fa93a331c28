//! Figures of the cluster: from the commit of an order until every read model has it, through Kafka, at
//! a steady rate; and what each process uses.
//!
//! `cargo bench --package cli --bench lag_through_kafka`, or with `cargo test --release --bench …`. Takes
//! two minutes. Everything runs on this machine, the load too, so what is measured is its saturation.

#[expect(
    dead_code,
    reason = "what the end-to-end tests stand on; a measurement needs some of it"
)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::PositionToken;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use support::client::Client;
use support::cluster::OnCluster;
use support::load::{ESTABLISHMENT, Load, PRODUCT};
use support::topology::Topology;

const ORDERS_PER_SECOND: u64 = 500;
const SECONDS: u64 = 40;
/// Left out: connections are made and caches filled.
const WARM_UP: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() {
    let on = OnCluster::start_with(|config| config.throwaway = false).await;
    let load = Load::prepare(&on, "steady", 64).await;
    let (samples, answered) = mpsc::unbounded_channel();
    let watcher = tokio::spawn(watch(on.databases().read_store.clone(), answered));
    let began = Instant::now();
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(ORDERS_PER_SECOND).expect("a rate"));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = Vec::new();
    for n in 0..ORDERS_PER_SECOND * SECONDS {
        ticks.tick().await;
        let (load, samples) = (Arc::clone(&load), samples.clone());
        requests.push(tokio::spawn(async move {
            let client = &load.clients[usize::try_from(n).expect("a count") % load.clients.len()];
            let sent = Instant::now();
            let token = order(client).await?;
            let committed = Instant::now();
            if began.elapsed() > WARM_UP {
                samples.send((token, committed)).ok()?;
            }
            Some(committed - sent)
        }));
    }
    let mut latencies = Vec::new();
    for request in requests {
        latencies.extend(request.await.expect("a request"));
    }
    let elapsed = began.elapsed();
    drop(samples);
    let answered = latencies.len();
    println!(
        "{answered} orders in {:.1} s: {:.0}/s",
        elapsed.as_secs_f64(),
        answered as f64 / elapsed.as_secs_f64()
    );
    print("order, sent to answered", latencies);
    print(
        "answered to visible in all read models",
        watcher.await.expect("the watcher"),
    );
    for memory in on.cluster.memory() {
        println!("{memory:?}");
    }
}

async fn order(client: &Client) -> Option<PositionToken> {
    let body = json!({"establishment_id": ESTABLISHMENT, "items": [{"product_id": PRODUCT, "quantity": 2}]});
    let answer = Client::try_send(client.request("POST", "/v1/orders").json(&body))
        .await
        .ok()?;
    (answer.status == 201).then_some(())?;
    answer.header("comanda-position")?.parse().ok()
}

/// Looks at the checkpoints again and again, and tells how long each sample took to be passed.
async fn watch(read_store: String, mut samples: mpsc::UnboundedReceiver<(PositionToken, Instant)>) -> Vec<Duration> {
    let mut connection = PgConnection::connect(&read_store).await.expect("the read store");
    let (mut pending, mut passed, mut open) = (Vec::new(), Vec::new(), true);
    let mut ticks = interval(Duration::from_millis(5));
    while open || !pending.is_empty() {
        ticks.tick().await;
        loop {
            match samples.try_recv() {
                Ok(sample) => pending.push(sample),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        let slots: BTreeSet<i32> = pending.iter().map(|(token, _)| i32::from(token.slot.0)).collect();
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "select slot, min(slot_position) from meta.checkpoints join meta.read_models using (read_model, generation)
              where slot = any($1) group by slot",
        )
        .bind(slots.into_iter().collect::<Vec<i32>>())
        .fetch_all(&mut connection)
        .await
        .expect("checkpoints");
        let seen = Instant::now();
        pending.retain(|(token, committed): &(PositionToken, Instant)| {
            let at = rows.iter().find(|(slot, _)| *slot == i32::from(token.slot.0));
            let there = at.is_some_and(|(_, position)| *position >= token.slot_position.0);
            if there {
                passed.push(seen.saturating_duration_since(*committed));
            }
            !there
        });
    }
    passed
}

fn print(what: &str, mut durations: Vec<Duration>) {
    durations.sort();
    let at = |part: f64| {
        let index = (durations.len() as f64 * part) as usize;
        durations
            .get(index.min(durations.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{what}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} samples)",
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3,
        at(1.0).as_secs_f64() * 1e3,
        durations.len()
    );
}
