//! What clients see while a part is away: no more is refused than must be.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::support::client::{Answer, Client};
use crate::support::cluster::OnCluster;
use crate::support::eventually;
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};
use crate::support::topology::Topology;

const QUERY: &str = "{ establishments { edges { node { key } } } }";

async fn order(client: &Client) -> Answer {
    let body = json!({"establishment_id": ESTABLISHMENT, "items": [{"product_id": PRODUCT, "quantity": 1}]});
    client.post("/v1/orders", &body).await
}

/// Whether each tenant's slot is on one of these shards.
async fn lies_on(on: &OnCluster, shards: &[usize], tenants: &[String]) -> Vec<bool> {
    let mut slots = BTreeSet::new();
    for shard in shards {
        let mut connection = PgConnection::connect(&on.databases().shards[*shard])
            .await
            .expect("the shard");
        let owned: Vec<i16> = sqlx::query_scalar("select slot from slots where owned")
            .fetch_all(&mut connection)
            .await
            .expect("slots");
        slots.extend(owned);
    }
    let slot = |tenant: &String| event_store::Slot::of(&tenant.parse().expect("a tenant")).0;
    tenants
        .iter()
        .map(|tenant| slots.contains(&i16::try_from(slot(tenant)).expect("a slot")))
        .collect()
}

async fn until_all(what: &str, clients: &[Client], status: u16) {
    eventually(Duration::from_secs(60), || async {
        for client in clients {
            let answer = order(client).await;
            if answer.status != status {
                return Err(format!("{what}: {} {}", answer.status, answer.body));
            }
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn a_shard_refuses_its_own_tenants_only(on: &OnCluster) {
    let load = Load::prepare(on, "away", 12).await;
    let theirs = lies_on(on, &[2, 3], &load.names).await;
    assert!(theirs.contains(&true) && theirs.contains(&false), "{theirs:?}");
    let server = on.cluster.postgres("shards-b").expect("the server");
    server.kill().await.expect("killed");
    for (client, theirs) in load.clients.iter().zip(&theirs) {
        let answer = order(client).await;
        if *theirs {
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
        } else {
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
    }
    // Reads of all tenants go on.
    for client in &load.clients {
        let answer = client.query(QUERY, json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    server.restart().await.expect("back");
    until_all("after the shard is back", &load.clients, 201).await;
}

/// A process that starts while a shard's server takes connections and never answers serves the others.
pub(crate) async fn a_process_starts_though_a_shard_hangs(on: &OnCluster) {
    let load = Load::prepare(on, "hang", 12).await;
    let theirs = lies_on(on, &[2, 3], &load.names).await;
    let server = on.cluster.postgres("shards-b").expect("the server");
    server.freeze();
    for name in ["command-api-1", "command-api-2"] {
        on.cluster
            .process(name)
            .expect("the process")
            .restart()
            .await
            .expect("started");
    }
    for (client, theirs) in load.clients.iter().zip(&theirs) {
        let answer = order(client).await;
        let expected = if *theirs { 503 } else { 201 };
        assert_eq!(answer.status, expected, "{}", answer.body);
    }
    server.thaw();
    until_all("after the shard answers", &load.clients, 201).await;
}

pub(crate) async fn without_read_stores_only_queries_are_refused(on: &OnCluster) {
    let load = Load::prepare(on, "blind", 4).await;
    let servers = ["read-0", "read-1", "read-2"].map(|name| on.cluster.postgres(name).expect("the server"));

    // One after another: the next answers.
    for server in &servers[..2] {
        server.kill().await.expect("killed");
        let answer = load.clients[0].query(QUERY, json!({})).await;
        assert_eq!(answer.status, 200, "{} is away: {}", server.name(), answer.body);
    }
    servers[2].kill().await.expect("killed");
    for client in &load.clients {
        let answer = order(client).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let answer = client.query(QUERY, json!({})).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    }
    for server in &servers {
        server.restart().await.expect("back");
    }
    on.cluster.await_ready().await.expect("ready");
    let answer = load.clients[0].query(QUERY, json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

pub(crate) async fn without_kafka_nobody_is_refused(on: &OnCluster) {
    let load = Load::prepare(on, "silent", 8).await;
    let kafka = on.cluster.kafka().expect("Kafka");
    for node in kafka.nodes() {
        node.kill().await.expect("killed");
    }
    for client in &load.clients {
        let answer = order(client).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let answer = client.query(QUERY, json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // Together: they need each other to begin.
    for back in join_all(kafka.nodes().iter().map(local_kafka::Node::restart)).await {
        back.expect("back");
    }
    on.cluster.await_ready().await.expect("ready, and caught up");
}
