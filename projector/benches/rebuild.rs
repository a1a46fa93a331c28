//! `cargo bench -p projector --bench rebuild`: how fast every read model is rebuilt from a log of
//! 1,000,000 events (`COMANDA_BENCH_EVENTS` says otherwise) while 500 orders a second come in, a
//! projector follows them and readers ask; how far off the estimate after the first quarter was; and
//! that a rebuild which is ended three times on the way comes to the same. Prints figures; readers
//! that fail or go backwards, and generations that differ, end it.

#[allow(dead_code, reason = "the tests need the rest of it")]
#[path = "../tests/projections/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::TenantId;
use event_store::{EventStore, Slot};
use projector::rebuild::{self, Options, Phase, Rebuilt, Status};
use projector::{Error, registry};
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use crate::support::platform::{Platform, connect};
use crate::support::real::{copy, running};
use crate::support::site::PATIENCE;
use crate::support::{read_store, samples};

const SHARDS: i16 = 4;
const TENANTS: usize = 40;
const ORDERS_PER_SECOND: u64 = 500;

fn main() {
    // Tests of all targets run this as well, and want no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    tokio::runtime::Runtime::new().expect("a runtime").block_on(measure());
}

async fn measure() {
    let events: i64 = std::env::var("COMANDA_BENCH_EVENTS").map_or(1_000_000, |text| text.parse().expect("a number"));
    let (platform, pool) = (Platform::of(SHARDS).await, read_store().await);
    let store = platform.store.clone();
    let began = Instant::now();
    fill(&platform, events / 2).await;
    println!(
        "{events} events of {TENANTS} tenants on {SHARDS} shards, made in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    // The first generation is filled in the same way, by itself.
    projector::ensure_generations(&pool).await.expect("created");
    timed("nothing else going on", &store, &pool).await;
    let (_, stop) = running(&store, &pool, ProjectorSettings::default());
    let beside = Beside::start(&store, &pool);
    let second = timed(&format!("{ORDERS_PER_SECOND} orders/s coming in"), &store, &pool).await;
    ended_three_times(&store, &pool, second).await;
    beside.stop().await;
    stop.trigger();
    stop.wait(PATIENCE).await;
}

fn tenant(nth: usize) -> TenantId {
    samples::tenant(&format!("t{nth}"))
}

/// Orders placed and accepted, stored as `append_events` would have, but for the time that it takes.
async fn fill(platform: &Platform, orders: i64) {
    let mut world = samples::World::new();
    let sample = samples::Sample {
        customer: Some("giulia"),
        items: vec![(1, 500), (2, 700)],
        ..samples::Sample::default()
    };
    let stream = world.place(&tenant(0), &sample);
    assert!(world.change(&stream, domain::order::OrderStatus::Accepted, None));
    let (templates, id) = (world.events(), stream.id().to_owned());
    for shard in &platform.shards {
        let here: Vec<TenantId> = (0..TENANTS)
            .map(tenant)
            .filter(|it| {
                platform
                    .store
                    .shard_of(Slot::of(it))
                    .is_ok_and(|owner| owner == shard.id)
            })
            .collect();
        if here.is_empty() {
            continue;
        }
        let names: Vec<&str> = here.iter().map(TenantId::as_str).collect();
        let slots: Vec<i16> = here
            .iter()
            .map(|it| i16::try_from(Slot::of(it).0).expect("a slot"))
            .collect();
        let share = orders * i64::try_from(here.len()).expect("few") / i64::try_from(TENANTS).expect("few");
        let mut connection = connect(&shard.url).await;
        sqlx::query(
            "WITH o AS (
                SELECT n, s AS sequence, $1[1 + n % $3] AS tenant, $2[1 + n % $3] AS slot, gen_random_uuid() AS new_id
                  FROM generate_series(1, $4) AS n CROSS JOIN generate_series(1, 2) AS s
             ), i AS (SELECT *, md5($5 || n || tenant)::uuid AS id FROM o)
             INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 position, slot, slot_position, recorded_at, event_id, tenant_id)
             SELECT 'order', tenant || '/' || id, sequence, $6[sequence], $7[sequence],
                    replace($8[sequence], $9, id::text)::json,
                    json_build_object('actor', 'till', 'number', (1 + n / $3)::text),
                    row_number() OVER (ORDER BY n, sequence), slot,
                    row_number() OVER (PARTITION BY slot ORDER BY n, sequence),
                    timestamptz '2026-03-01 12:00Z' + n * interval '1 ms', new_id, tenant
               FROM i",
        )
        .bind(names)
        .bind(slots)
        .bind(i64::try_from(here.len()).expect("few"))
        .bind(share)
        .bind(shard.id.to_string())
        .bind(templates.iter().map(|it| it.event_type.as_str()).collect::<Vec<_>>())
        .bind(templates.iter().map(|it| it.event_version.as_str()).collect::<Vec<_>>())
        .bind(templates.iter().map(|it| it.payload.get()).collect::<Vec<_>>())
        .bind(&id)
        .execute(&mut connection)
        .await
        .expect("filled");
        for sql in [
            "UPDATE slots AS s SET slot_position = e.last, recorded_at = e.at
               FROM (SELECT slot, max(slot_position) AS last, max(recorded_at) AS at FROM events GROUP BY slot) AS e
              WHERE s.slot = e.slot",
            "UPDATE shard SET position = (SELECT coalesce(max(position), 0) FROM events)",
            // Numbers go on behind those given out here.
            "INSERT INTO order_numbers SELECT slot, tenant_id, payload ->> 'establishment_id',
                    (payload ->> 'business_date')::date, max((metadata ->> 'number')::bigint)
               FROM events WHERE sequence = 1 GROUP BY 1, 2, 3, 4",
            "ANALYZE events",
        ] {
            sqlx::query(sql).execute(&mut connection).await.expect(sql);
        }
    }
}

/// What was said when a quarter was done.
#[derive(Debug, Default, Clone, Copy)]
struct Quarter {
    at: Option<Duration>,
    remaining: Option<Duration>,
    filled: Option<Duration>,
}

async fn timed(what: &str, store: &EventStore, pool: &PgPool) -> Duration {
    let (began, quarter) = (Instant::now(), Mutex::new(Quarter::default()));
    let observe = |status: &Status| {
        let mut quarter = quarter.lock().expect("not poisoned");
        if quarter.at.is_none() && status.events_done * 4 >= status.events_total {
            (quarter.at, quarter.remaining) = (Some(began.elapsed()), status.remaining);
        }
        if quarter.filled.is_none() && status.phase != Phase::Filling {
            quarter.filled = Some(began.elapsed());
        }
    };
    let rebuilt = rebuild::rebuild(store, pool, &registry::all(), &Options::default(), &observe)
        .await
        .expect("rebuilt");
    let took = began.elapsed();
    assert_right(&rebuilt);
    let seen = *quarter.lock().expect("not poisoned");
    let filled = seen.filled.expect("filled");
    let events = heads(store).await;
    println!(
        "{what}: {:.0} events/s, filled in {:.1} s, verified and switched in {:.1} s more",
        events as f64 / filled.as_secs_f64(),
        filled.as_secs_f64(),
        (took - filled).as_secs_f64()
    );
    if let (Some(at), Some(remaining)) = (seen.at, seen.remaining) {
        let actual = (filled - at).as_secs_f64();
        println!(
            "  after the first quarter: {:.1} s left were promised, {actual:.1} s it took ({:+.0} %)",
            remaining.as_secs_f64(),
            (remaining.as_secs_f64() / actual - 1.0) * 100.0
        );
    }
    filled
}

async fn heads(store: &EventStore) -> i64 {
    let mut events = 0;
    for shard in store.shards() {
        events += store
            .heads(shard)
            .await
            .expect("heads")
            .iter()
            .map(|head| head.slot_position.0)
            .sum::<i64>();
    }
    events
}

fn assert_right(rebuilt: &[Rebuilt]) {
    for it in rebuilt {
        assert!(it.checked.is_right() && it.switched.is_some(), "{it:?}");
    }
}

/// Ends a rebuild at three places and goes on with it.
async fn ended_three_times(store: &EventStore, pool: &PgPool, undisturbed: Duration) {
    let began = Instant::now();
    for part in 1..=3 {
        let done = Arc::new(AtomicU64::new(0));
        let (store, pool, seen) = (store.clone(), pool.clone(), Arc::clone(&done));
        let task = tokio::spawn(async move {
            let observe = |status: &Status| {
                let percent = status.events_done * 100 / status.events_total.max(1);
                seen.store(percent.unsigned_abs(), Ordering::Relaxed);
            };
            rebuild::rebuild(&store, &pool, &registry::all(), &Options::default(), &observe).await
        });
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while done.load(Ordering::Relaxed) < part * 22 && !task.is_finished() {
            look.tick().await;
        }
        task.abort();
        let ended: Result<Result<Vec<Rebuilt>, Error>, _> = task.await;
        assert!(ended.is_err(), "it was to be ended on the way: {ended:?}");
        println!("  ended at {} %", done.load(Ordering::Relaxed));
    }
    let rebuilt = rebuild::rebuild(store, pool, &registry::all(), &Options::default(), &|_| {})
        .await
        .expect("gone on with");
    assert_right(&rebuilt);
    println!(
        "ended three times and gone on with: {:.1} s, {:.1} s of them waiting for leases to run out at most; {} tenants \
         compared; undisturbed it took {:.1} s",
        began.elapsed().as_secs_f64(),
        3.0 * Options::default().lease.as_secs_f64(),
        rebuilt[0].checked.compared_tenants,
        undisturbed.as_secs_f64()
    );
}

/// Orders that come in, and readers that ask, meanwhile.
struct Beside {
    stop: Arc<AtomicBool>,
    orders: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    began: Instant,
}

impl Beside {
    fn start(store: &EventStore, pool: &PgPool) -> Self {
        let (stop, orders, reads) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicU64>::default(),
        );
        let mut tasks = vec![];
        const WRITERS: u64 = 10;
        for writer in 0..WRITERS {
            let (store, stop, orders) = (store.clone(), Arc::clone(&stop), Arc::clone(&orders));
            tasks.push(tokio::spawn(async move {
                let mut pace = tokio::time::interval(
                    Duration::from_secs(1) / u32::try_from(ORDERS_PER_SECOND / WRITERS).expect("few"),
                );
                let mut world = samples::World::new();
                let sample = samples::Sample {
                    establishment: ["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"]
                        [usize::try_from(writer).expect("few")],
                    ..samples::Sample::default()
                };
                let mut nth = 0;
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let known = world.events().len();
                    world.place(&tenant(nth % TENANTS), &sample);
                    nth += 1;
                    let mut events = world.events().split_off(known);
                    for event in &mut events {
                        let id = domain::OrderId(service::edge::fresh_id());
                        event.stream = domain::StreamId::order(event.stream.tenant(), id);
                        event.event_id = domain::EventId(service::edge::fresh_id());
                    }
                    copy(&store, &events).await;
                    orders.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        for nth in 0..2 {
            tasks.push(tokio::spawn(read(
                pool.clone(),
                tenant(nth),
                Arc::clone(&stop),
                Arc::clone(&reads),
            )));
        }
        Self {
            stop,
            orders,
            reads,
            tasks,
            began: Instant::now(),
        }
    }

    async fn stop(self) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no read failed or went backwards");
        }
        println!(
            "meanwhile: {:.0} orders/s, {} reads, none failed and none went backwards",
            self.orders.load(Ordering::Relaxed) as f64 / seconds,
            self.reads.load(Ordering::Relaxed)
        );
    }
}

/// Asks of the served generation how many orders the tenant has, never accepting fewer than before.
async fn read(pool: PgPool, tenant: TenantId, stop: Arc<AtomicBool>, reads: Arc<AtomicU64>) {
    let (mut most, mut pace) = (0, tokio::time::interval(Duration::from_millis(100)));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let generation: i32 = sqlx::query_scalar("SELECT generation FROM meta.read_models WHERE read_model = 'orders'")
            .fetch_one(&pool)
            .await
            .expect("a pointer");
        let orders: i64 = sqlx::query_scalar(&format!(
            "SELECT count(*) FROM orders_g{generation}.orders WHERE tenant_id = $1"
        ))
        .bind(tenant.as_str())
        .fetch_one(&pool)
        .await
        .expect("an answer");
        assert!(orders >= most, "{orders} orders after {most}");
        most = orders;
        reads.fetch_add(1, Ordering::Relaxed);
    }
}
