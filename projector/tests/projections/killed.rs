//! A projector of the group in a process of its own, which is frozen, wakes up again, and is killed.

use std::process::{Child, Command};
use std::time::Instant;

use event_store::{EventStore, Options, RecordedEvent, ShardId, ShardOptions};
use projector::KafkaProjector;
use serde::{Deserialize, Serialize};
use service::Shutdown;
use service::settings::{KafkaSettings, ProjectorSettings, TopicSettings};
use sqlx::ConnectOptions;
use sqlx::postgres::PgPoolOptions;

use crate::support::real::{copy, whole_log};
use crate::support::site::{PARTITIONS, Site, eventually};
use crate::support::{expected, rows, samples};

/// Set for the other process: it enters by the same test, and is the projector that it describes.
const VARIABLE: &str = "COMANDA_TEST_PROJECTOR";
const TEST: &str = "given_a_projector_frozen_woken_and_killed_then_the_other_takes_over_and_nothing_is_lost_or_doubled";

#[derive(Serialize, Deserialize)]
struct Described {
    bootstrap: String,
    topic: String,
    shards: Vec<(i16, String)>,
    read_store: String,
}

/// Another process; dies with the test.
struct Process(Child);

impl Process {
    fn start(site: &Site) -> Self {
        let described = Described {
            bootstrap: site.kafka.bootstrap.clone(),
            topic: site.kafka.topic.name.clone(),
            shards: site
                .platform
                .shards
                .iter()
                .map(|it| (it.id.0, it.url.clone()))
                .collect(),
            read_store: site.pool.connect_options().to_url_lossy().to_string(),
        };
        let child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", &format!("killed::{TEST}")])
            .env(VARIABLE, serde_json::to_string(&described).expect("serialises"))
            .spawn();
        Self(child.expect("started"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the other process runs, until it is killed.
async fn run(described: &str) {
    let described: Described = serde_json::from_str(described).expect("well-formed");
    let shard = |(id, url)| ShardOptions { id: ShardId(id), url };
    let options = Options {
        shards: described.shards.into_iter().map(shard).collect(),
        ..Options::default()
    };
    let store = EventStore::connect(options).await.expect("connected");
    let pool = PgPoolOptions::new().max_connections(6).connect(&described.read_store);
    let topic = TopicSettings {
        name: described.topic,
        partitions: PARTITIONS,
        ..TopicSettings::default()
    };
    let kafka = KafkaSettings {
        bootstrap: described.bootstrap,
        topic,
        ..KafkaSettings::default()
    };
    let pool = pool.await.expect("the read store answers");
    let projector = KafkaProjector::new(store, pool, &kafka, ProjectorSettings::default());
    projector.run(Shutdown::new()).await.expect("runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_projector_frozen_woken_and_killed_then_the_other_takes_over_and_nothing_is_lost_or_doubled() {
    if let Ok(described) = std::env::var(VARIABLE) {
        return run(&described).await;
    }
    let site = Site::shared("killed").await;
    let (relay, survivor) = (site.relay(), site.start());
    let other = Process::start(&site);
    let halved = async || survivor.partitions() == usize::from(PARTITIONS) / 2;
    eventually("the other has its share", halved).await;
    let events = samples::busy_week().events();
    let parts: Vec<&[RecordedEvent]> = events.chunks(events.len().div_ceil(4)).collect();
    let right = async || rows::all(&site.pool).await == expected::tables(&whole_log(&site.store).await);
    copy(&site.store, parts[0]).await;
    eventually("both apply what they get", right).await;

    other.signal("-STOP");
    let tokens = copy(&site.store, parts[1]).await;
    survivor.reached(&tokens).await;
    assert_eq!(survivor.partitions(), usize::from(PARTITIONS));
    // It wakes up with what it thought it had, and is told otherwise.
    other.signal("-CONT");
    copy(&site.store, parts[2]).await;
    eventually("the other comes back", halved).await;
    eventually("both apply what they get", right).await;

    other.signal("-KILL");
    let died = Instant::now();
    let tokens = copy(&site.store, parts[3]).await;
    survivor.reached(&tokens).await;
    eventually("the survivor has everything", async || {
        survivor.partitions() == usize::from(PARTITIONS)
    })
    .await;
    println!("take-over after kill -9: {:?}", died.elapsed());
    survivor.stop().await;
    relay.trigger();
    relay.wait(crate::support::site::PATIENCE).await;
    site.assert_rows().await;
}
