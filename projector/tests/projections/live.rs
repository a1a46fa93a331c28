//! From the real log to the read models, over shards' tails.

use std::collections::HashMap;
use std::time::Instant;

use domain::metadata::key;
use domain::order::OrderStatus;
use domain::{Event, EventId, Numbering, Sequence, StreamId};
use event_store::{Append, EventStore, NewEvent, PositionToken, RecordedEvent};
use projector::{Consumer, Projector};
use service::Shutdown;
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use crate::support::platform::Platform;
use crate::support::{ALL, PATIENCE, expected, read_store, rows, samples};

/// Appends what a log in memory holds to the real one, which assigns its own places and numbers.
pub(crate) async fn copy(store: &EventStore, events: &[RecordedEvent]) -> Vec<PositionToken> {
    let mut tokens = vec![];
    for event in events {
        let mut metadata = event.metadata.clone();
        metadata.remove(key::NUMBER);
        let numbering = match event.decode().expect("well-formed") {
            Event::Order(domain::order::OrderEvent::OrderCreated(created)) => Some(Numbering {
                establishment_id: created.establishment_id.clone(),
                business_date: created.business_date,
            }),
            Event::Order(_) | Event::Product(_) | Event::Establishment(_) => None,
        };
        let append = Append {
            stream: event.stream.clone(),
            expected: Sequence(event.sequence.0 - 1),
            numbering,
            events: vec![NewEvent {
                event_id: EventId(event.event_id.0),
                event_type: event.event_type.clone(),
                event_version: event.event_version.clone(),
                payload: event.payload.clone(),
                metadata,
            }],
        };
        tokens.push(store.append(append).await.expect("appended").token());
    }
    tokens
}

pub(crate) async fn whole_log(store: &EventStore) -> Vec<RecordedEvent> {
    let mut events = vec![];
    for shard in store.shards() {
        for head in store.heads(shard).await.expect("heads") {
            let mut after = event_store::SlotPosition(0);
            while after < head.slot_position {
                let page = store.read_slot(head.slot, after, 500).await.expect("a page");
                after = page.last().expect("not empty").slot_position;
                events.extend(page);
            }
        }
    }
    events
}

pub(crate) fn running(store: &EventStore, pool: &PgPool, settings: ProjectorSettings) -> (Projector, Shutdown) {
    let projector = Projector::new(store.clone(), pool.clone(), settings);
    let shutdown = Shutdown::new();
    let (this, stop) = (projector.clone(), shutdown.clone());
    shutdown.spawn("projector", async move { this.run(stop).await.expect("runs") });
    (projector, shutdown)
}

pub(crate) async fn reached(projector: &Projector, token: &PositionToken) {
    tokio::time::timeout(PATIENCE, projector.progress().reached(&ALL, token))
        .await
        .expect("reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_on_two_shards_then_read_models_follow_it_through_restarts() {
    let (store, pool) = (Platform::of(2).await.store, read_store().await);
    let mut world = samples::busy_week();
    let before = world.events();
    let tokens = copy(&store, &before[..before.len() / 2]).await;
    // Found when it starts.
    let (first, stop) = running(&store, &pool, ProjectorSettings::default());
    reached(&first, tokens.last().expect("events")).await;
    // Appended while it runs.
    let tokens = copy(&store, &before[before.len() / 2..]).await;
    for token in &tokens {
        reached(&first, token).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());

    // Appended while nobody runs, and to a slot of its own.
    let late = world.place(&samples::tenant("torino"), &samples::Sample::default());
    assert!(world.change(&late, OrderStatus::Accepted, None));
    let tokens = copy(&store, &world.events()[before.len()..]).await;
    let (second, stop) = running(&store, &pool, ProjectorSettings::default());
    for token in &tokens {
        reached(&second, token).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    assert_eq!(rows::all(&pool).await, expected::tables(&whole_log(&store).await));
    assert_eq!(second.health().status, service::health::Status::Ok);
}

/// Not a test: `cargo test --release -p projector -- --ignored --nocapture catch_up` measures how
/// fast an empty read store catches up with a log, per shards and batch size.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn catch_up_speed() {
    let tenants = 64;
    let orders_each = 250;
    let (store, mut world) = (Platform::of(4).await.store, samples::World::new());
    let mut streams: HashMap<usize, Vec<StreamId>> = HashMap::new();
    for nth in 0..tenants {
        let tenant = samples::tenant(&format!("t{nth}"));
        for order in 0..orders_each {
            let customer = [Some("giulia"), Some("marco"), None][order % 3];
            let sample = samples::Sample {
                customer,
                items: vec![(1, 500), (2, 700)],
                ..samples::Sample::default()
            };
            streams.entry(nth).or_default().push(world.place(&tenant, &sample));
        }
    }
    for stream in streams.values().flatten() {
        assert!(world.change(stream, OrderStatus::Accepted, None));
    }
    let events = world.events();
    let by_tenant = |nth: usize| -> Vec<RecordedEvent> {
        events
            .iter()
            .filter(|event| event.stream.tenant().as_str() == format!("t{nth}"))
            .cloned()
            .collect()
    };
    let copies = (0..tenants).map(|nth| {
        let (store, part) = (store.clone(), by_tenant(nth));
        tokio::spawn(async move { copy(&store, &part).await.last().copied() })
    });
    let heads: Vec<PositionToken> = futures::future::join_all(copies)
        .await
        .into_iter()
        .filter_map(|head| head.expect("copied"))
        .collect();
    for batch_max in [500, 2_000] {
        let pool = read_store().await;
        projector::ensure_generations(&pool).await.expect("created");
        let started = Instant::now();
        let (projector, stop) = running(
            &store,
            &pool,
            ProjectorSettings {
                batch_max,
                ..ProjectorSettings::default()
            },
        );
        for head in &heads {
            reached(&projector, head).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{} events, batches of {batch_max}: {:.0} events/s",
            events.len(),
            events.len() as f64 / seconds
        );
        stop.trigger();
        stop.wait(PATIENCE).await;
    }
    // Appending one order at a time: from acknowledged to visible in every read model.
    let pool = read_store().await;
    let (projector, stop) = running(&store, &pool, ProjectorSettings::default());
    reached(&projector, heads.last().expect("tenants")).await;
    let known = events.len();
    let mut lags: Vec<f64> = vec![];
    for nth in 0..200 {
        world.place(
            &samples::tenant(&format!("t{}", nth % tenants)),
            &samples::Sample::default(),
        );
    }
    for event in &world.events()[known..] {
        let token = copy(&store, std::slice::from_ref(event)).await[0];
        let started = Instant::now();
        reached(&projector, &token).await;
        lags.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    lags.sort_by(f64::total_cmp);
    println!(
        "acknowledged to visible: p50 {:.1} ms, p99 {:.1} ms",
        lags[100], lags[197]
    );
    stop.trigger();
    stop.wait(PATIENCE).await;
    // One consumer of a log in memory: what applying alone can do.
    let pool = read_store().await;
    let consumer = Consumer::new(pool.clone(), ProjectorSettings::default());
    let running = crate::support::start(consumer, &world.log);
    let started = Instant::now();
    let events = world.events();
    for batch in events.chunks(2_000) {
        running.deliver(batch);
    }
    running.reached(&ALL, &world.log).await;
    println!(
        "one feed: {:.0} events/s",
        events.len() as f64 / started.elapsed().as_secs_f64()
    );
    running.stop().await;
}
