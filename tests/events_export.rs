//! The log as files and sent once more, by the shipped binary: exported, killed and resumed; replayed to
//! a topic and to a server; interrupted and gone on with.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message};
use serde_json::Value;

use crate::support::checker::Log;
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::platform::{BINARY, Platform};
use crate::support::topology::Topology;

const PATIENCE: Duration = Duration::from_secs(30);

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn done(output: Output) -> Output {
    assert!(output.status.success(), "{}", said(&output));
    output
}

fn lines(output: &[u8]) -> Vec<Value> {
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

fn ids(events: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = events
        .iter()
        .map(|event| event["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

/// Events of all files of a folder.
fn in_folder(folder: &Path) -> Vec<Value> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            events.extend(in_folder(&path));
        } else if path.extension().is_some_and(|ending| ending == "ndjson") {
            events.extend(lines(&std::fs::read(&path).expect("a file")));
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_exported_and_replayed_whole_whatever_is_killed_on_the_way() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "export", 3).await;
    load.run(150, 8).await;
    let log = Log::read(platform.databases()).await;
    let tail = done(platform.comanda(&["events", "tail", "-o", "ndjson"]));
    let all = lines(&tail.stdout);
    assert_eq!(all.len(), log.events);

    to_stdout_as_tail_and_http_say(&platform, &load, &all).await;
    killed_and_resumed(&platform, &all).await;
    interrupted_and_gone_on_with(&platform, &all).await;
    to_a_topic(&platform, &all).await;
    to_a_server(&platform, &all).await;
}

/// Given a tenant, then its export, its tail and its events over HTTP are the same, in the same order.
async fn to_stdout_as_tail_and_http_say(platform: &Platform, load: &Load, all: &[Value]) {
    let tenant = load.names[1].as_str();
    let exported = done(platform.comanda(&["events", "export", "--to", "-", "-o", "ndjson", "--tenant", tenant]));
    let exported = lines(&exported.stdout);
    let tailed: Vec<Value> = all.iter().filter(|event| event["tenant"] == tenant).cloned().collect();
    assert_eq!(exported, tailed);
    let answer = load.clients[1]
        .request("GET", "/v1/events?limit=1000")
        .send()
        .await
        .expect("answered");
    let over_http = lines(&answer.bytes().await.expect("whole"));
    assert_eq!(over_http.len(), exported.len());
    for (there, here) in over_http.iter().zip(&exported) {
        for (http, line) in [
            ("id", "id"),
            ("type", "type"),
            ("sequence", "sequence"),
            ("data", "payload"),
        ] {
            assert_eq!(there[http], here[line], "{http}");
        }
    }
    let parquet = platform.comanda(&["status", "-o", "parquet"]);
    assert_eq!(parquet.status.code(), Some(2), "{}", said(&parquet));
}

/// Given an export that is killed with -9, when it is resumed, then the folder holds every event once.
async fn killed_and_resumed(platform: &Platform, all: &[Value]) {
    let folder = platform.folder().join("lake");
    let to = folder.to_str().expect("UTF-8");
    let arguments = ["events", "export", "-o", "ndjson", "--round-events", "10", "--to", to];
    let mut export = spawn(platform, &arguments, &[]);
    let manifest = folder.join("_comanda_export.json");
    let rounds = eventually(PATIENCE, || async {
        let manifest = std::fs::read(&manifest).map_err(|error| error.to_string())?;
        let manifest: Value = serde_json::from_slice(&manifest).map_err(|error| error.to_string())?;
        let rounds = manifest["rounds"].as_u64().unwrap_or_default();
        if rounds >= 2 {
            Ok(rounds)
        } else {
            Err(format!("{rounds} rounds"))
        }
    })
    .await;
    export.kill().expect("killed");
    export.wait().expect("reaped");
    let before = in_folder(&folder).len();
    assert!(
        before < all.len(),
        "killed after round {rounds} with all {before} events"
    );
    done(platform.comanda(&[&arguments[..], &["--resume"]].concat()));
    assert_eq!(ids(&in_folder(&folder)), ids(all));
    let again = platform.comanda(&arguments);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
}

fn spawn(platform: &Platform, arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Child {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--data").arg(platform.data());
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary runs")
}

/// Given Ctrl-C, then the cursor is printed and what it leaves is the rest.
async fn interrupted_and_gone_on_with(platform: &Platform, all: &[Value]) {
    let file = platform.folder().join("replayed");
    let replay = Command::new(BINARY)
        .args(["events", "replay", "--to", "stdout", "--rate", "40/s", "--data"])
        .arg(platform.data())
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&file).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    eventually(PATIENCE, || async {
        let seen = std::fs::read(&file).unwrap_or_default();
        if seen.contains(&b'\n') {
            Ok(())
        } else {
            Err("nothing yet".to_owned())
        }
    })
    .await;
    kill(Pid::from_raw(replay.id().try_into().expect("a pid")), Signal::SIGINT).expect("signalled");
    let ended = tokio::task::spawn_blocking(move || replay.wait_with_output())
        .await
        .expect("waited");
    let ended = ended.expect("an end");
    assert_eq!(ended.status.code(), Some(130), "{}", said(&ended));
    let cursor = said(&ended)
        .trim()
        .rsplit_once("--after ")
        .expect("a cursor")
        .1
        .to_owned();
    let mut replayed = lines(&std::fs::read(&file).expect("a file"));
    assert!(replayed.len() < all.len());
    let rest = done(platform.comanda(&["events", "replay", "--to", "stdout", "--after", &cursor]));
    replayed.extend(lines(&rest.stdout));
    assert_eq!(ids(&replayed), ids(all));
}

async fn to_a_topic(platform: &Platform, all: &[Value]) {
    let kafka = local_kafka::testing::shared().await.bootstrap();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka)
        .set("group.id", "reader")
        .set("auto.offset.reset", "earliest");
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let topic = NewTopic::new("analysis", 4, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.expect("made");
    let arguments = ["events", "replay", "--to", "kafka://analysis"];
    let replay = spawn(platform, &arguments, &[("COMANDA_KAFKA__BOOTSTRAP", &kafka)]);
    let ended = tokio::task::spawn_blocking(move || replay.wait_with_output())
        .await
        .expect("waited");
    done(ended.expect("an end"));
    let consumer: StreamConsumer = config.create().expect("a consumer");
    consumer.subscribe(&["analysis"]).expect("subscribed");
    let (mut seen, mut last) = (HashSet::new(), BTreeMap::new());
    while seen.len() < all.len() {
        let record = tokio::time::timeout(PATIENCE, consumer.recv())
            .await
            .expect("in time")
            .expect("a record");
        let headers: BTreeMap<String, String> = record
            .headers()
            .expect("headers")
            .iter()
            .map(|it| {
                (
                    it.key.to_owned(),
                    String::from_utf8_lossy(it.value.unwrap_or_default()).into_owned(),
                )
            })
            .collect();
        in_order(&mut last, &headers["ce_slot"], &headers["ce_slotposition"]);
        assert!(seen.insert(headers["ce_id"].clone()), "{} came twice", headers["ce_id"]);
    }
    assert_eq!(sorted(seen), ids(all));
}

fn in_order(last: &mut BTreeMap<String, i64>, slot: &str, position: &str) {
    let last = last.entry(slot.to_owned()).or_default();
    assert_eq!(position.parse::<i64>().expect("a position"), *last + 1, "slot {slot}");
    *last += 1;
}

fn sorted(seen: HashSet<String>) -> Vec<String> {
    let mut seen: Vec<String> = seen.into_iter().collect();
    seen.sort();
    seen
}

type Received = Arc<Mutex<Vec<(String, String, String)>>>;

async fn receive(State(received): State<Received>, headers: HeaderMap) {
    let attribute = |name: &str| headers[name].to_str().expect("ASCII").to_owned();
    let event = (attribute("ce-id"), attribute("ce-slot"), attribute("ce-slotposition"));
    received.lock().expect("unpoisoned").push(event);
}

async fn to_a_server(platform: &Platform, all: &[Value]) {
    let received = Received::default();
    let routes = Router::new()
        .route("/hook", post(receive))
        .with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let replay = spawn(platform, &["events", "replay", "--to", &url], &[]);
    let ended = tokio::task::spawn_blocking(move || replay.wait_with_output())
        .await
        .expect("waited");
    done(ended.expect("an end"));
    let received = received.lock().expect("unpoisoned");
    let mut last = BTreeMap::new();
    received
        .iter()
        .for_each(|(_, slot, position)| in_order(&mut last, slot, position));
    assert_eq!(sorted(received.iter().map(|event| event.0.clone()).collect()), ids(all));
}
