//! The restoration drill: a platform that is backed up under load, restored to a moment in between,
//! and held against its own log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::support::checker::Log;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};
use crate::support::platform::{BINARY, Databases, Platform};
use crate::support::topology::Topology;

const TENANTS: usize = 4;
const WORKERS: usize = 8;

/// An order that was sent, and when it was answered 201.
#[derive(Debug, Clone)]
struct Sent {
    tenant: usize,
    id: String,
    began: Instant,
    acknowledged: Option<Instant>,
}

/// Orders without end, each with the moments at which it began and was acknowledged.
struct Flow {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Flow {
    fn start(load: &Arc<Load>) -> Self {
        let flow = Self {
            stop: Arc::default(),
            sent: Arc::default(),
            acknowledged: Arc::default(),
            tasks: Vec::new(),
        };
        let next = Arc::new(AtomicUsize::new(0));
        let tasks = (0..WORKERS).map(|_| {
            let (load, next) = (Arc::clone(load), Arc::clone(&next));
            let (stop, sent, acknowledged) = (
                Arc::clone(&flow.stop),
                Arc::clone(&flow.sent),
                Arc::clone(&flow.acknowledged),
            );
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let tenant = n % load.clients.len();
                    let order = place(&load.clients[tenant], tenant, n).await;
                    acknowledged.fetch_add(usize::from(order.acknowledged.is_some()), Ordering::Relaxed);
                    sent.lock().unwrap_or_else(PoisonError::into_inner).push(order);
                }
            })
        });
        let tasks = tasks.collect();
        Self { tasks, ..flow }
    }

    /// Waits until `more` further orders were acknowledged.
    async fn progress(&self, more: usize) {
        let target = self.acknowledged.load(Ordering::Relaxed) + more;
        eventually(Duration::from_secs(60), || async {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= target {
                Ok(())
            } else {
                Err(format!("{now} of {target} orders"))
            }
        })
        .await;
    }

    async fn stop(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a worker");
        }
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.clone()
    }
}

async fn place(client: &Client, tenant: usize, n: usize) -> Sent {
    let id = format!("{:08x}-0000-4000-8000-{:012x}", 0xb0c0_0000_u32, n);
    let body = json!({
        "id": id, "establishment_id": ESTABLISHMENT,
        "items": [{"product_id": PRODUCT, "quantity": 1 + n % 4}],
    });
    let began = Instant::now();
    let answer = Client::try_send(client.request("POST", "/v1/orders").json(&body)).await;
    let stored = answer.is_ok_and(|answer| answer.status == 201);
    Sent {
        tenant,
        id,
        began,
        acknowledged: stored.then(Instant::now),
    }
}

/// One event as it lies in a log.
type Row = (i64, String, String, String);

/// Every slot's events in order: position, id, stream, payload with metadata.
async fn slots(databases: &Databases) -> BTreeMap<i16, Vec<Row>> {
    let mut slots: BTreeMap<i16, Vec<Row>> = BTreeMap::new();
    for url in &databases.shards {
        let mut shard = PgConnection::connect(url).await.expect("the shard answers");
        let rows: Vec<(i16, i64, String, String, String)> = sqlx::query_as(
            "select slot, slot_position, event_id::text, aggregate_id, payload::text || metadata::text || recorded_at
               from events order by slot, slot_position",
        )
        .fetch_all(&mut shard)
        .await
        .expect("the log reads");
        for (slot, position, id, stream, content) in rows {
            slots.entry(slot).or_default().push((position, id, stream, content));
        }
    }
    slots
}

/// A moment by the server's clock, and the moments between which it lies by ours.
struct Moment {
    time: String,
    before: Instant,
    after: Instant,
}

impl Moment {
    async fn now(databases: &Databases) -> Self {
        let mut shard = PgConnection::connect(&databases.shards[0])
            .await
            .expect("the shard answers");
        let before = Instant::now();
        let time: String = sqlx::query_scalar(
            "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        )
        .fetch_one(&mut shard)
        .await
        .expect("a time");
        Self {
            time,
            before,
            after: Instant::now(),
        }
    }

    /// What a log restored to this moment gets wrong.
    fn faults(
        &self,
        names: &[String],
        sent: &[Sent],
        whole: &BTreeMap<i16, Vec<Row>>,
        restored: &BTreeMap<i16, Vec<Row>>,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for (slot, rows) in restored {
            let origin = whole.get(slot).map_or(&[][..], Vec::as_slice);
            if origin.get(..rows.len()) != Some(rows.as_slice()) {
                faults.push(format!("slot {slot} is no prefix of what it was"));
            }
        }
        let streams: BTreeSet<&str> = restored.values().flatten().map(|row| row.2.as_str()).collect();
        for order in sent {
            let stream = format!("{}/{}", names[order.tenant], order.id);
            let there = streams.contains(stream.as_str());
            if order.acknowledged.is_some_and(|at| at < self.before) && !there {
                faults.push(format!("{stream} was acknowledged before and is missing"));
            }
            if order.began > self.after && there {
                faults.push(format!("{stream} was begun after and is there"));
            }
        }
        faults
    }
}

fn comanda(arguments: &[&str], data: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--data").arg(data).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The `pg_receivewal` that archives into this folder.
fn archiver(folder: &Path) -> Option<i32> {
    let folder = folder.display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("pg_receivewal") && line.contains(&folder)
    })
}

async fn kill_archiver(folder: &Path) {
    let before = eventually(Duration::from_secs(20), || async {
        archiver(folder).ok_or("none runs".to_owned())
    })
    .await;
    kill(Pid::from_raw(before), Signal::SIGKILL).expect("killed");
    eventually(Duration::from_secs(20), || async {
        archiver(folder)
            .filter(|now| *now != before)
            .ok_or("it is not started again".to_owned())
    })
    .await;
}

/// Waits until health says that the archive is whole.
async fn archived(platform: &Platform) {
    eventually(Duration::from_secs(30), || async {
        let health = reqwest::get(format!("{}/health", platform.url()))
            .await
            .map_err(|e| e.to_string())?;
        let health: Value = health.json().await.map_err(|e| e.to_string())?;
        let part = &health["parts"]["backup"];
        if part["status"] == "ok" {
            Ok(())
        } else {
            Err(part.to_string())
        }
    })
    .await;
}

/// A small generator with a fixed seed (SplitMix64): which moments are chosen must not vary.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, bound: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound).expect("small")
    }
}

struct Drill {
    platform: Platform,
    folder: tempfile::TempDir,
}

impl Drill {
    async fn start() -> Self {
        let folder = tempfile::TempDir::with_prefix("comanda-backup-").expect("a folder");
        let backup = folder.path().join("backup");
        let backup = backup.to_str().expect("UTF-8");
        let platform = Platform::start_with(&[("COMANDA_BACKUP__FOLDER", backup)]).await;
        Self { platform, folder }
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    fn verb(&self, arguments: &[&str]) -> Output {
        comanda(arguments, &self.platform.data())
    }

    fn back_up(&self) -> Value {
        let folder = self.backup();
        json_of(&self.verb(&["backup", "--to", folder.to_str().expect("UTF-8"), "-o", "json"]))
    }

    /// Restores into a folder that a platform can be started in.
    fn restore(&self, until: &[&str]) -> (tempfile::TempDir, Output) {
        let into = Platform::new_folder();
        let folder = self.backup();
        let mut arguments = vec!["restore", "--from", folder.to_str().expect("UTF-8"), "-o", "json"];
        arguments.extend(until);
        let output = comanda(&arguments, &into.path().join("data"));
        (into, output)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_backup_under_load_then_any_later_moment_is_restored_to_the_commit() {
    let mut dice = Dice(20_261_124);
    let drill = Drill::start().await;
    let load = Load::prepare(&drill.platform, "drill", TENANTS).await;
    let flow = Flow::start(&load);
    flow.progress(100).await;
    let taken = drill.back_up();
    assert_eq!(taken.as_array().map(Vec::len), Some(1), "one server: {taken}");
    archived(&drill.platform).await;

    flow.progress(50 + dice.up_to(150)).await;
    kill_archiver(&drill.backup()).await;
    flow.progress(50 + dice.up_to(150)).await;
    let moment = Moment::now(&drill.platform.run.databases).await;
    flow.progress(20 + dice.up_to(50)).await;
    kill_archiver(&drill.backup()).await;
    flow.progress(50).await;
    archived(&drill.platform).await;
    let sent = flow.stop().await;
    let whole = slots(&drill.platform.run.databases).await;

    let (into, output) = drill.restore(&["--to-time", &moment.time]);
    let report = json_of(&output);
    assert_eq!(report["shards"].as_array().map(Vec::len), Some(4), "{report}");
    assert_eq!(report["read_models_ahead"], json!([]), "one server, one moment");
    let mut restored = Platform::start_in(into, &[]).await;
    let kept = slots(&restored.run.databases).await;
    assert_eq!(moment.faults(&load.names, &sent, &whole, &kept), Vec::<String>::new());
    let lost = whole.values().map(Vec::len).sum::<usize>() - kept.values().map(Vec::len).sum::<usize>();
    assert!(lost > 0, "orders went on after the moment");
    assert!(
        !moment.faults(&load.names, &sent, &whole, &whole).is_empty(),
        "the check tells too much from enough"
    );

    takes_orders_and_shows_them(&restored).await;
    restored.terminate().await;
}

/// The restored platform goes on as any other does.
async fn takes_orders_and_shows_them(platform: &Platform) {
    let load = Load::prepare(platform, "after", 2).await;
    load.run(60, 4).await;
    load.settle().await;
    let log = Log::read(platform.databases()).await;
    assert_eq!(log.faults(), Vec::<String>::new());
    log.await_caught_up(platform.databases()).await;
    assert_eq!(log.differences(platform.databases()).await, Vec::<String>::new());
}

/// Waits until the archive has all that the server has written.
async fn all_archived(platform: &Platform) {
    let mut shard = PgConnection::connect(&platform.run.databases.shards[0])
        .await
        .expect("the shard answers");
    let end: String = sqlx::query_scalar("select pg_current_wal_lsn()::text")
        .fetch_one(&mut shard)
        .await
        .expect("a position");
    eventually(Duration::from_secs(30), || async {
        let mut shard = PgConnection::connect(&platform.run.databases.shards[0])
            .await
            .map_err(|e| e.to_string())?;
        let received: Option<bool> = sqlx::query_scalar(
            "select bool_or(write_lsn >= $1::pg_lsn) from pg_stat_replication where application_name = 'pg_receivewal'",
        )
        .bind(&end)
        .fetch_one(&mut shard)
        .await
        .map_err(|error| error.to_string())?;
        if received == Some(true) {
            Ok(())
        } else {
            Err(format!("{end} is not archived"))
        }
    })
    .await;
}

fn verdicts(output: &Output) -> Vec<String> {
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = rows.as_array().expect("a list");
    rows.iter()
        .map(|row| row["verdict"].as_str().expect("a verdict").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_lost_machine_then_the_archive_has_all_of_it_and_damage_to_it_is_found() {
    let mut drill = Drill::start().await;
    let folder = drill.backup();
    let path = folder.to_str().expect("UTF-8").to_owned();
    let load = Load::prepare(&drill.platform, "lost", TENANTS).await;
    let flow = Flow::start(&load);
    flow.progress(50).await;
    drill.back_up();
    // Its archive goes on where the killed process left it.
    drill.platform.kill();
    drill.platform.restart().await;
    flow.progress(50).await;
    flow.stop().await;
    let mut shard = PgConnection::connect(&drill.platform.run.databases.shards[0])
        .await
        .expect("the shard answers");
    // Several segments, so that one in the middle can be missing.
    for _ in 0..2 {
        sqlx::query("select pg_switch_wal()")
            .execute(&mut shard)
            .await
            .expect("another segment");
        load.run(40, 4).await;
    }
    load.settle().await;
    all_archived(&drill.platform).await;
    let whole = slots(&drill.platform.run.databases).await;
    drill.platform.kill_postgres();
    drill.platform.kill();

    let sound = drill.verb(&["backup", "check", &path, "-o", "json"]);
    assert_eq!(
        (sound.status.code(), verdicts(&sound)),
        (Some(0), vec!["ok".to_owned()])
    );
    let (into, output) = drill.restore(&["--latest"]);
    json_of(&output);
    let mut restored = Platform::start_in(into, &[]).await;
    assert!(
        slots(&restored.run.databases).await == whole,
        "the log is not what it was"
    );
    takes_orders_and_shows_them(&restored).await;
    restored.terminate().await;

    let again = comanda(&["restore", "--from", &path, "--latest"], &restored.data());
    assert_eq!(again.status.code(), Some(2), "never over what is there");
    plant_damage(&drill, &path);
}

/// A segment that is missing and a file that was changed are both found, and nothing is restored over the hole.
fn plant_damage(drill: &Drill, path: &str) {
    let wal = fs::read_dir(drill.backup().join("servers"))
        .expect("archives")
        .flatten()
        .next()
        .expect("one");
    let mut segments: Vec<PathBuf> = fs::read_dir(wal.path().join("wal"))
        .expect("segments")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    segments.sort();
    let middle = &segments[segments.len() - 2];
    let aside = drill.folder.path().join("aside");
    fs::rename(middle, &aside).expect("moved aside");
    let found = drill.verb(&["backup", "check", path, "-o", "json"]);
    assert_eq!(found.status.code(), Some(3));
    let missing = middle.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(verdicts(&found)[0].contains(&missing), "{:?}", verdicts(&found));
    let (_into, refused) = drill.restore(&["--latest"]);
    assert_eq!(refused.status.code(), Some(1));
    fs::rename(&aside, middle).expect("moved back");

    let backup = fs::read_dir(drill.backup().join("backups"))
        .expect("backups")
        .flatten()
        .next()
        .expect("one");
    let version = backup.path().join("server-1/PG_VERSION");
    let text = fs::read_to_string(&version).expect("a file");
    fs::write(&version, text.replace('1', "2")).expect("changed");
    let found = drill.verb(&["backup", "check", path, "-o", "json"]);
    assert_eq!(found.status.code(), Some(3));
    assert!(verdicts(&found)[0].contains("PG_VERSION"), "{:?}", verdicts(&found));
}
