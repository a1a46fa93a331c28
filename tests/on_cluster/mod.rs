//! The same suite on the cluster, and what only a cluster can do.

mod chaos;
mod fault;
mod moves;
mod outages;
mod planted;
mod topic;
mod witness;

use std::future::Future;
use std::time::Duration;

use serde_json::Value;

use crate::crash::differences_after_two_projectors;
use crate::support::checker::Log;
use crate::support::cluster::OnCluster;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::topology::Topology;
use crate::{concurrency, import, journey, refusals, tenants};

/// One cluster for all of them, one after another: starting it is the dearest part.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_suite_passes_on_the_cluster() {
    let on = OnCluster::start().await;
    step("an order from REST to GraphQL", journey::an_order(&on)).await;
    step("bad orders", refusals::bad_orders(&on)).await;
    step("transitions", refusals::transitions(&on)).await;
    step("forged tokens", refusals::forged_tokens(&on)).await;
    step("strangers", tenants::strangers(&on)).await;
    step("an import with bad lines", import::bad_lines(&on)).await;
    step("the published orders", import::published(&on)).await;
    step("fifty writers", concurrency::fifty_writers(&on)).await;
    step("ten thousand orders", concurrency::ten_thousand_orders(&on)).await;
    step("a shard tail beside the group", a_tail_beside_the_group(&on)).await;
    step("status, doctor and events", the_tools_see_everything(&on)).await;
    step("a fresh group", a_fresh_group_catches_up(&on)).await;
    step("every event is in the topic", topic::assert_complete(&on)).await;
    step("a shard is added", a_shard_is_added(&on)).await;
    step("a shard away", outages::a_shard_refuses_its_own_tenants_only(&on)).await;
    step(
        "a shard hangs at the start",
        outages::a_process_starts_though_a_shard_hangs(&on),
    )
    .await;
    step(
        "the read stores away",
        outages::without_read_stores_only_queries_are_refused(&on),
    )
    .await;
    step("Kafka away", outages::without_kafka_nobody_is_refused(&on)).await;
}

async fn step(what: &str, scenario: impl Future<Output = ()>) {
    say(what);
    scenario.await;
}

pub(crate) fn say(what: &str) {
    println!("on the cluster: {what}");
}

async fn a_tail_beside_the_group(on: &OnCluster) {
    assert_eq!(differences_after_two_projectors(on, None).await, Vec::<String>::new());
}

/// Running processes learn it, without a restart.
async fn a_shard_is_added(on: &OnCluster) {
    let server = on.cluster.postgres("shards-b").expect("the server");
    server.ensure_database("shard_4").await.expect("created");
    let file = on.folder().join("shard-4-url");
    std::fs::write(&file, server.url("shard_4")).expect("written");
    let arguments = ["shards", "add", "--shard", "4", "--url-file"];
    let added = on.comanda(&[&arguments[..], &[file.to_str().expect("a path")]].concat());
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    for name in ["command-api-1", "command-api-2", "relay-1", "projector-3"] {
        let url = format!("{}/health", on.cluster.process(name).expect("the process").url());
        eventually(Duration::from_secs(20), || async {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let health = answer.text().await.map_err(|error| error.to_string())?;
            // All of them; or by name, since these databases forget what a power cut interrupts.
            if health.contains("5 shards") || health.contains("3, 4") {
                Ok(())
            } else {
                Err(format!("{name}: {health}"))
            }
        })
        .await;
    }
    let listed = on.comanda(&["shards", "list", "-o", "json"]);
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed.len(), 5, "{listed:?}");
}

async fn the_tools_see_everything(on: &OnCluster) {
    // These databases forget what a power cut interrupts, and doctor finds nothing else.
    let doctor = on.comanda(&["doctor", "-o", "json"]);
    let findings: Vec<Value> = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let wrong: Vec<&Value> = findings.iter().filter(|it| it["verdict"] == "wrong").collect();
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    let fragile = |it: &&Value| {
        it["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("lost in a crash"))
    };
    assert!(wrong.iter().all(fragile), "{wrong:?}");
    assert_eq!(doctor.status.code(), Some(1));

    let status = on.comanda(&["status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let count = |key: &str| status[key].as_array().map_or(0, Vec::len);
    assert_eq!(count("processes"), 10, "{status}");
    assert_eq!(count("shards"), 4, "{status}");
    assert_eq!(count("read_stores"), 3, "{status}");
    assert_eq!(
        status["topic"]["partitions"].as_array().map(Vec::len),
        Some(8),
        "{status}"
    );

    let log = Log::read(on.databases()).await;
    for source in ["shards", "kafka"] {
        let events = on.comanda(&["events", "tail", "--source", source, "-o", "ndjson"]);
        assert!(events.status.success(), "{}", String::from_utf8_lossy(&events.stderr));
        let lines = events
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        assert_eq!(lines.count(), log.events, "from {source}");
    }
}

/// A second read store, filled from the topic alone by a group that has never read before.
async fn a_fresh_group_catches_up(on: &OnCluster) {
    let server = on.cluster.postgres("read-0").expect("the server");
    server.ensure_database("read_store_2").await.expect("created");
    let url = server.url("read_store_2");
    let stores = format!("[{{name=\"second\", url=\"{url}\"}}]");
    let command = |arguments: &[&str]| {
        let mut command = on.command(arguments);
        command
            .env("COMANDA_READ_STORES", &stores)
            .env("COMANDA_PROJECTOR__READ_STORE", "second");
        command
    };
    let migrated = command(&["migrate"]).output().expect("runs");
    assert!(
        migrated.status.success(),
        "{}",
        String::from_utf8_lossy(&migrated.stderr)
    );
    let log_file = std::fs::File::create(on.folder().join("second.log")).expect("a log");
    let mut projector = command(&["projector", "--port", "0"])
        .stdout(std::process::Stdio::null())
        .stderr(log_file)
        .spawn()
        .expect("starts");
    let log = Log::read(on.databases()).await;
    log.await_caught_up_at(&url).await;
    let differences = log.differences_at(&url).await;
    projector.kill().expect("killed");
    projector.wait().expect("reaped");
    assert_eq!(differences, Vec::<String>::new());
}

/// 32 writers on each of the four shards: nothing missing, anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_writers_a_shard_miss_nothing() {
    let on = OnCluster::start_with(|config| config.seed = false).await;
    let load = Load::prepare(&on, "wide", 64).await;
    load.run(6_000, 128).await;
    concurrency::assert_guarantees(&on, &load).await;
    topic::assert_complete(&on).await;
}

/// How long a fault lasts: a length, not a wait for something.
pub(crate) async fn last(length: Duration) {
    let mut ticks = tokio::time::interval(length);
    ticks.tick().await;
    ticks.tick().await;
}
