//! Many clients at once: nothing lost, nothing doubled, no gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::checker::Log;
use crate::support::eventually;
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};
use crate::support::platform::Platform;
use crate::support::topology::Topology;

/// Everything that must hold once a load is over: G1 to G5.
pub(crate) async fn assert_guarantees(platform: &dyn Topology, load: &Load) {
    load.settle().await;
    let log = Log::read(platform.databases()).await;
    assert_eq!(
        log.faults(),
        Vec::<String>::new(),
        "G3: the log has no gap and no double"
    );
    let missing = missing(load, &log).await;
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "G1: every acknowledged order is in the log once"
    );
    eventually(Duration::from_secs(60), || async {
        let found = log.differences(platform.databases()).await;
        if found.is_empty() {
            Ok(())
        } else {
            Err(format!("G1, G4: {} differ: {:?}", found.len(), &found[..1]))
        }
    })
    .await;
    load.repeat(97).await;
}

/// Acknowledged orders that the log does not hold exactly once, and acknowledged changes that it lacks.
pub(crate) async fn missing(load: &Load, log: &Log) -> Vec<String> {
    let acknowledged: BTreeSet<(String, String)> = load
        .journal
        .settled_as(201)
        .iter()
        .map(|intent| {
            let tenant = load.names[intent.tenant].clone();
            let id = domain::OrderId::derived(&tenant.parse().expect("an id"), &intent.key);
            (tenant, id.to_string())
        })
        .collect();
    let lost = acknowledged
        .iter()
        .filter(|order| log.created.get(*order) != Some(&1))
        .map(|order| format!("{order:?} is stored {} times", log.created.get(order).unwrap_or(&0)));
    lost.chain(missing_changes(load, log)).collect()
}

/// Orders of which the log holds fewer changes than were acknowledged.
fn missing_changes(load: &Load, log: &Log) -> Vec<String> {
    let mut changes: BTreeMap<(String, String), i64> = BTreeMap::new();
    for intent in load.journal.settled_as(200) {
        let order = intent
            .path
            .trim_start_matches("/v1/orders/")
            .trim_end_matches("/status");
        *changes
            .entry((load.names[intent.tenant].clone(), order.to_owned()))
            .or_default() += 1;
    }
    let version = |order| log.orders.get(order).map_or(0, |row| row.version);
    changes
        .iter()
        .filter(|(order, count)| version(order) <= **count)
        .map(|(order, count)| format!("{order:?} is at version {} after {count} changes", version(order)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_orders_by_64_clients_keep_every_promise() {
    ten_thousand_orders(&Platform::start().await).await;
}

pub(crate) async fn ten_thousand_orders(platform: &dyn Topology) {
    let load = Load::prepare(platform, "busy", 8).await;
    load.run(10_000, 64).await;
    assert_guarantees(platform, &load).await;
    assert_eq!(load.acknowledged(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writers_on_one_order_settle_it_once() {
    fifty_writers(&Platform::start().await).await;
}

pub(crate) async fn fifty_writers(platform: &dyn Topology) {
    let load = Load::prepare(platform, "one", 1).await;
    let client = load.clients[0].clone();
    let body = json!({"establishment_id": ESTABLISHMENT, "items": [{"product_id": PRODUCT, "quantity": 1}]});
    let created = client.post("/v1/orders", &body).await;
    let path = Arc::new(format!(
        "/v1/orders/{}/status",
        created.body["id"].as_str().expect("an id")
    ));

    let writers: Vec<_> = (0..50)
        .map(|n| {
            let (client, path) = (client.clone(), Arc::clone(&path));
            let status = if n % 2 == 0 { "accepted" } else { "rejected" };
            tokio::spawn(async move { client.post(&path, &json!({"status": status})).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for writer in writers {
        statuses.push(writer.await.expect("a writer"));
    }

    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 409).count(),
        49,
        "{statuses:?}"
    );
    let log = Log::read(platform.databases()).await;
    assert_eq!(log.faults(), Vec::<String>::new());
}
