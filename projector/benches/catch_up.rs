//! `cargo bench -p projector`: how fast an empty read store catches up with a log of 32,000 events,
//! over shards' tails, from one feed and through Kafka, and how long an event takes from being
//! acknowledged to being visible in every read model. Prints figures; nothing is held against them.
//!
//! On a machine that is busy otherwise the processor time says more than the time that went by.

#[allow(dead_code, reason = "the tests need the rest of it")]
#[path = "../tests/projections/support/mod.rs"]
mod support;

use std::time::Instant;

use domain::order::OrderStatus;
use event_store::{EventStore, PositionToken, RecordedEvent};
use projector::Consumer;
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use crate::support::platform::Platform;
use crate::support::real::{copy, reached, running};
use crate::support::site::{PATIENCE, Site, eventually};
use crate::support::{ALL, read_store, samples, start_with};

const TENANTS: usize = 64;
const ORDERS: usize = 16_000;

fn main() {
    // Tests of all targets run this as well, and want no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        over_tails().await;
        from_one_feed().await;
        through_kafka().await;
    });
}

/// Orders of many tenants, each placed and accepted.
fn world() -> samples::World {
    let mut world = samples::World::new();
    let orders: Vec<_> = (0..ORDERS)
        .map(|nth| {
            let sample = samples::Sample {
                customer: [Some("giulia"), Some("marco"), None][nth % 3],
                items: vec![(1, 500), (2, 700)],
                ..samples::Sample::default()
            };
            world.place(&tenant(nth), &sample)
        })
        .collect();
    for order in &orders {
        assert!(world.change(order, OrderStatus::Accepted, None));
    }
    world
}

fn tenant(nth: usize) -> domain::TenantId {
    samples::tenant(&format!("t{}", nth % TENANTS))
}

async fn empty_read_store() -> PgPool {
    let pool = read_store().await;
    projector::ensure_generations(&pool).await.expect("created");
    pool
}

fn settings(batch_max: usize) -> ProjectorSettings {
    ProjectorSettings {
        batch_max,
        ..ProjectorSettings::default()
    }
}

fn per_second(events: usize, since: Instant) -> f64 {
    events as f64 / since.elapsed().as_secs_f64()
}

async fn over_tails() {
    let (store, mut world) = (Platform::of(4).await.store, world());
    let events = world.events();
    let heads = copy_all(&store, &events).await;
    for batch_max in [500, 2_000] {
        let pool = empty_read_store().await;
        let started = Instant::now();
        let (projector, stop) = running(&store, &pool, settings(batch_max));
        for head in &heads {
            reached(&pool, &projector, head).await;
        }
        let speed = per_second(events.len(), started);
        println!(
            "tails of 4 shards, {} events, batches of {batch_max}: {speed:.0} events/s",
            events.len()
        );
        stop.trigger();
        stop.wait(PATIENCE).await;
    }
    acknowledged_to_visible(&store, &heads, &mut world).await;
}

/// Each tenant's events in order, the tenants at once. Returns where each ended.
async fn copy_all(store: &EventStore, events: &[RecordedEvent]) -> Vec<PositionToken> {
    let copies = (0..TENANTS).map(|nth| {
        let of_tenant = |event: &&RecordedEvent| *event.stream.tenant() == tenant(nth);
        let part: Vec<RecordedEvent> = events.iter().filter(of_tenant).cloned().collect();
        let store = store.clone();
        tokio::spawn(async move { copy(&store, &part).await.last().copied() })
    });
    let ends = futures::future::join_all(copies).await.into_iter();
    ends.filter_map(|end| end.expect("copied")).collect()
}

/// One order at a time.
async fn acknowledged_to_visible(store: &EventStore, heads: &[PositionToken], world: &mut samples::World) {
    let pool = empty_read_store().await;
    let (projector, stop) = running(store, &pool, ProjectorSettings::default());
    for head in heads {
        reached(&pool, &projector, head).await;
    }
    let known = world.events().len();
    for nth in 0..200 {
        world.place(&tenant(nth), &samples::Sample::default());
    }
    let mut lags: Vec<f64> = vec![];
    for event in &world.events()[known..] {
        let token = copy(store, std::slice::from_ref(event)).await[0];
        let started = Instant::now();
        reached(&pool, &projector, &token).await;
        lags.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    lags.sort_by(f64::total_cmp);
    println!(
        "acknowledged to visible: p50 {:.1} ms, p99 {:.1} ms",
        lags[100], lags[197]
    );
    stop.trigger();
    stop.wait(PATIENCE).await;
}

/// Of a log in memory: what applying alone can do.
async fn from_one_feed() {
    let (pool, world) = (empty_read_store().await, world());
    let consumer = Consumer::new(pool.clone(), ProjectorSettings::default());
    let running = start_with(&pool, consumer, &world.log);
    let (started, events) = (Instant::now(), world.events());
    for batch in events.chunks(2_000) {
        running.deliver(batch);
    }
    running.reached(&ALL, &world.log).await;
    println!("one feed: {:.0} events/s", per_second(events.len(), started));
    running.stop().await;
}

async fn through_kafka() {
    let (site, world) = (Site::shared("speed").await, world());
    let events = world.events();
    site.publish(&events).await;
    for batch_max in [500, 2_000, 4_000] {
        let pool = empty_read_store().await;
        let database = pool.connect_options().get_database().unwrap_or_default().to_owned();
        let settings = ProjectorSettings {
            read_store: format!("speed-{batch_max}"),
            ..settings(batch_max)
        };
        let member = site.start_on(pool, settings);
        eventually("partitions are given", async || member.partitions() > 0).await;
        let (started, before) = (Instant::now(), cpu_seconds(|process| process.is_this()));
        member.reached(&world.log.head_tokens()).await;
        println!(
            "Kafka, {} events, batches of {batch_max}: {:.0} events/s; CPU: {:.1} s here, {:.1} s in the read store",
            events.len(),
            per_second(events.len(), started),
            cpu_seconds(|process| process.is_this()) - before,
            cpu_seconds(|process| process.serves(&database)),
        );
        member.stop().await;
    }
}

struct Process {
    id: String,
    title: String,
}

impl Process {
    fn is_this(&self) -> bool {
        self.id == std::process::id().to_string()
    }

    fn serves(&self, database: &str) -> bool {
        self.title.starts_with("postgres:") && self.title.contains(&format!(" {database} "))
    }
}

/// What such processes have used of the processors.
fn cpu_seconds(of: impl Fn(&Process) -> bool) -> f64 {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc").expect("a Linux").flatten() {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let id = entry.file_name().to_string_lossy().into_owned();
        let title = read("cmdline").replace('\0', " ");
        if of(&Process { id, title }) {
            let stat = read("stat");
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            ticks += fields.skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>();
        }
    }
    ticks as f64 / 100.0
}
