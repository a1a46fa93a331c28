//! Slots moved under load, with the mover killed at each of its steps, and a platform that grows.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use event_store::{Slot, Step};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::concurrency::assert_guarantees;
use crate::crash::progress;
use crate::support::client::Client;
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};
use crate::support::platform::{BINARY, Databases, Platform};
use crate::support::topology::Topology;

const MOVES: usize = 20;
const SHARDS: i16 = 4;

/// Which shards own each slot, by their own tables, and how many have it shut.
pub(crate) async fn owners(databases: &Databases) -> (BTreeMap<i16, Vec<i16>>, usize) {
    let (mut owners, mut shut) = (BTreeMap::<i16, Vec<i16>>::new(), 0);
    for url in &databases.shards {
        let mut shard = PgConnection::connect(url).await.expect("the shard answers");
        let rows: Vec<(i16, i16, bool)> =
            sqlx::query_as("select shard_id, slot, owned from slots, shard where owned or fenced")
                .fetch_all(&mut shard)
                .await
                .expect("slots");
        for (shard, slot, owned) in rows {
            if owned {
                owners.entry(slot).or_default().push(shard);
            } else {
                shut += 1;
            }
        }
    }
    assert!(
        owners.values().all(|shards| shards.len() == 1),
        "one owner at most: {owners:?}"
    );
    (owners, shut)
}

/// Everything that a shard took itself is in the log of its slot's owner: nothing was left behind.
pub(crate) async fn assert_nothing_left_behind(databases: &Databases) {
    let (mut originals, mut owned) = (0, 0);
    for url in &databases.shards {
        let mut shard = PgConnection::connect(url).await.expect("the shard answers");
        let counts: (i64, i64) = sqlx::query_as(
            "select count(*) filter (where not copied), count(*) filter (where slot in (select slot from slots where owned))
               from events",
        )
        .fetch_one(&mut shard)
        .await
        .expect("counts");
        originals += counts.0;
        owned += counts.1;
    }
    assert_eq!(originals, owned, "events taken, and events of the slots' owners");
}

/// Starts a move and kills it -9 at a step.
fn killed_after(platform: &Platform, slot: Slot, target: i16, step: Step) {
    let mut mover = Command::new(BINARY)
        .args([
            "shards",
            "move",
            "--verbose",
            "--slots",
            &slot.to_string(),
            "--to",
            &target.to_string(),
            "--data",
        ])
        .arg(platform.data())
        .env("COMANDA_PLANTED_FAULTS", "1")
        .env("COMANDA_FAULT_MOVE", format!("hang_after_{}", step.as_str()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the mover starts");
    let wanted = format!("slot {slot}: {}", step.as_str());
    let mut said = Vec::new();
    let lines = BufReader::new(mover.stderr.take().expect("its stderr")).lines();
    let reached = lines.map_while(Result::ok).any(|line| {
        said.push(line);
        said.last() == Some(&wanted)
    });
    mover.kill().expect("killed");
    mover.wait().expect("reaped");
    assert!(reached, "it never came to {}: {said:?}", step.as_str());
}

pub(crate) fn done(platform: &dyn Topology, arguments: &[&str]) -> Value {
    let output = platform.comanda(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Places orders of one tenant; whatever is refused is sent again with its key until it is taken.
struct Insistent {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Insistent {
    fn start(client: Client, label: &'static str) -> Self {
        let (stop, refused) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&refused));
        let body = json!({"establishment_id": ESTABLISHMENT, "items": [{"product_id": PRODUCT, "quantity": 1}]});
        let task = tokio::spawn(async move {
            let (mut orders, mut pace) = (Vec::new(), tokio::time::interval(Duration::from_millis(20)));
            while !stopping.load(Ordering::Relaxed) {
                pace.tick().await;
                let key = format!("{label}-{}", orders.len());
                let order = loop {
                    let request = client
                        .request("POST", "/v1/orders")
                        .header("idempotency-key", &key)
                        .json(&body);
                    let answer = Client::send(request).await;
                    match answer.status {
                        201 => break answer.body["id"].as_str().expect("an id").to_owned(),
                        503 => {
                            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
                            counting.fetch_add(1, Ordering::Relaxed);
                            pace.tick().await;
                        }
                        other => panic!("{other}: {}", answer.body),
                    }
                };
                orders.push(order);
            }
            orders
        });
        Self { stop, refused, task }
    }

    /// The orders that were taken, and how often one was refused.
    async fn stop(self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let orders = self.task.await.expect("the client");
        (orders, self.refused.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_moves_under_load_with_movers_killed_at_each_step_lose_and_double_nothing() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "move", 4).await;
    let running = load.start_paced(6, Duration::from_millis(20));
    let slot = |tenant: usize| Slot::of(&load.names[tenant].parse().expect("a tenant"));
    let insistent = Insistent::start(load.clients[0].clone(), "insistent");
    let (mut moved, mut undone) = (0, 0);
    for nth in 0..MOVES {
        progress(&load, 5).await;
        let slot = slot(nth % 4);
        let at = owners(&platform.run.databases).await.0[&i16::try_from(slot.0).expect("a slot")][0];
        let target = (at + 1) % SHARDS;
        let (number, to) = (slot.to_string(), target.to_string());
        if nth % 5 == 4 {
            done(&platform, &["shards", "move", "--slots", &number, "--to", &to]);
            moved += 1;
            continue;
        }
        let step = Step::ALL[(nth - nth / 5) % Step::ALL.len()];
        killed_after(&platform, slot, target, step);
        let (_, shut) = owners(&platform.run.databases).await;
        assert!(shut <= 1, "{shut} slots are shut");
        let decided = matches!(step, Step::Decided | Step::Opened | Step::Released);
        if !decided && nth % 2 == 1 {
            assert_eq!(done(&platform, &["shards", "move", "--undo"])["undone"], 1);
            undone += 1;
        } else {
            if decided {
                let refused = platform.comanda(&["shards", "move", "--undo"]);
                assert_eq!(refused.status.code(), Some(1));
            }
            assert_eq!(done(&platform, &["shards", "move", "--resume"])["moved"], 1);
            moved += 1;
        }
    }
    progress(&load, 5).await;
    running.stop().await;
    let (orders, refused) = insistent.stop().await;

    let (owned, shut) = owners(&platform.run.databases).await;
    assert_eq!((owned.len(), shut), (1024, 0));
    assert_guarantees(&platform, &load).await;
    assert_nothing_left_behind(&platform.run.databases).await;
    assert!(refused > 0, "somebody met a fence");
    for order in orders.iter().step_by(10) {
        let answer = load.clients[0].get(&format!("/v1/orders/{order}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    println!(
        "{moved} moves and {undone} undone; {} orders of one client, refused {refused} times",
        orders.len()
    );

    // The pauses of movers that live.
    let running = load.start_paced(6, Duration::from_millis(20));
    let slots: Vec<String> = (0..4).map(|tenant| slot(tenant).to_string()).collect();
    let mut pauses = Vec::new();
    for target in ["0", "1", "2", "3", "0"] {
        let moved = done(
            &platform,
            &["shards", "move", "--slots", &slots.join(","), "--to", target],
        );
        let moves = moved["moves"].as_array().expect("moves");
        pauses.extend(moves.iter().map(|it| it["pause_ms"].as_f64().expect("a pause")));
    }
    running.stop().await;
    pauses.sort_by(f64::total_cmp);
    let p99 = pauses[(pauses.len() * 99).div_ceil(100) - 1];
    println!(
        "{} pauses: median {:.1} ms, p99 {p99:.1} ms",
        pauses.len(),
        pauses[pauses.len() / 2]
    );
    assert_guarantees(&platform, &load).await;
}

/// A platform with shards that its run file does not know.
struct Grown<'a> {
    platform: &'a Platform,
    databases: Databases,
}

impl Topology for Grown<'_> {
    fn url(&self) -> &str {
        self.platform.url()
    }

    fn databases(&self) -> &Databases {
        &self.databases
    }

    fn folder(&self) -> std::path::PathBuf {
        self.platform.folder()
    }

    fn comanda(&self, arguments: &[&str]) -> std::process::Output {
        self.platform.comanda(arguments)
    }
}

/// The commands of docs/moves.md.
#[tokio::test(flavor = "multi_thread")]
async fn four_shards_grow_to_sixteen_while_orders_come() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "grow", 12).await;
    let running = load.start_paced(4, Duration::from_millis(50));
    let mut databases = platform.run.databases.clone();
    let first = databases.shards[0].clone();
    let mut server = PgConnection::connect(&first).await.expect("the server");
    for id in SHARDS..16 {
        let name = format!("shard_{id}");
        sqlx::query(&format!("create database {name}"))
            .execute(&mut server)
            .await
            .expect("a database");
        let url = first.replace("shard_0", &name);
        let file = platform.folder().join(format!("{name}.url"));
        std::fs::write(&file, &url).expect("its URL");
        let (id, file) = (id.to_string(), file.display().to_string());
        done(&platform, &["shards", "add", "--shard", &id, "--url-file", &file]);
        databases.shards.push(url);
    }
    let plan = done(&platform, &["shards", "plan"]);
    assert_eq!(plan["shards"].as_array().expect("shards").len(), 16);
    let applied = done(&platform, &["shards", "plan", "--apply", "--parallel", "4"]);
    println!(
        "{} slots moved, pauses: median {} ms, p99 {} ms",
        applied["moved"], applied["pause_p50_ms"], applied["pause_p99_ms"]
    );
    // The tenants that order lie in a slot each; the slots of nobody weigh next to nothing.
    assert!(applied["moved"].as_u64() >= Some(12), "{applied}");
    assert_eq!(applied["undone"], 0);
    progress(&load, 40).await;
    running.stop().await;

    let (owned, shut) = owners(&databases).await;
    assert_eq!((owned.len(), shut), (1024, 0));
    let mut slots = BTreeMap::new();
    owned
        .values()
        .for_each(|shards| *slots.entry(shards[0]).or_insert(0) += 1);
    assert_eq!(slots.len(), 16, "each shard has some: {slots:?}");
    let grown = Grown {
        platform: &platform,
        databases,
    };
    assert_guarantees(&grown, &load).await;
    assert_nothing_left_behind(&grown.databases).await;
    let again = done(&platform, &["shards", "plan"]);
    let (before, after) = (heaviest(&plan), heaviest(&again));
    println!("the heaviest shard carries {after:.3} of the load, and {before:.3} before");
    assert!(after < before / 2.0, "{before} became {after}");
}

/// The share of the load that the heaviest shard carries.
fn heaviest(plan: &Value) -> f64 {
    let shards = plan["shards"].as_array().expect("shards");
    shards.iter().filter_map(|it| it["load"].as_f64()).fold(0.0, f64::max)
}
