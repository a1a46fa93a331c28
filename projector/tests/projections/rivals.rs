//! Two projectors on the same slots.

use event_store::RecordedEvent;
use projector::{Consumer, Fault};
use sqlx::PgPool;

use crate::support::{ALL, eventually, expected, read_store, rows, samples, settings, start, start_with, within};

/// The first projector has seen only the first event when the second does all the work; then the
/// first gets the rest, and believes that it is up to it.
async fn overtaken(pool: &PgPool, world: &samples::World, fault: Option<Fault>) {
    let events = world.events();
    let consumer = || Consumer::new(pool.clone(), patient()).with_fault(fault);
    let first = start_with(pool, consumer(), &world.log);
    for slot in first_of_each_slot(&events) {
        first.deliver(std::slice::from_ref(&slot));
        first.reached_token(&ALL, &slot.token()).await;
    }
    let second = start_with(pool, consumer(), &world.log);
    second.deliver(&events);
    second.reached(&ALL, &world.log).await;
    let mut commits = first.progress.commits();
    first.deliver(&events);
    within("the first has tried", commits.changed()).await.expect("it runs");
    first.reached(&ALL, &world.log).await;
    first.stop().await;
    second.stop().await;
}

/// Does not compare with the heads by itself, so that the feed alone decides what happens when.
fn patient() -> service::settings::ProjectorSettings {
    service::settings::ProjectorSettings {
        reconcile_interval_ms: 3_600_000,
        ..settings()
    }
}

fn first_of_each_slot(events: &[RecordedEvent]) -> Vec<RecordedEvent> {
    events
        .iter()
        .filter(|event| event.slot_position.0 == 1)
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_projector_that_was_overtaken_then_it_drops_its_slots_and_the_rows_are_right() {
    let (pool, world) = (read_store().await, samples::busy_week());
    overtaken(&pool, &world, None).await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_the_compare_and_set_planted_off_then_the_damage_is_seen() {
    let (pool, world) = (read_store().await, samples::busy_week());
    overtaken(&pool, &world, Some(Fault::SkipCompareAndSet)).await;
    let (found, expected) = (rows::all(&pool).await, expected::tables(&world.events()));
    assert_ne!(
        found["daily_sales_g1.days"], expected["daily_sales_g1.days"],
        "every sale counts twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_two_projectors_racing_for_every_batch_then_the_rows_are_right() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    let rivals = [(); 2].map(|()| start(&pool, &world.log));
    for batch in events.chunks(3) {
        for rival in &rivals {
            rival.deliver(batch);
        }
    }
    for rival in &rivals {
        rival.reached(&ALL, &world.log).await;
    }
    for rival in rivals {
        rival.stop().await;
    }
    assert_eq!(rows::all(&pool).await, expected::tables(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_dropping_duplicates_planted_off_then_the_damage_is_seen() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let consumer = Consumer::new(pool.clone(), settings()).with_fault(Some(Fault::SkipDedupe));
    let running = start_with(&pool, consumer, &world.log);
    running.deliver(&world.events());
    running.reached(&ALL, &world.log).await;
    running.deliver(&world.events());
    let parked = "meta.parked_streams";
    eventually("what comes twice harms", || async {
        rows::count(&pool, parked).await > 0
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_refilling_planted_off_then_the_damage_is_seen() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    let consumer = Consumer::new(pool.clone(), settings()).with_fault(Some(Fault::SkipRefill));
    let running = start_with(&pool, consumer, &world.log);
    for (nth, batch) in events.chunks(5).enumerate() {
        if nth % 2 == 0 {
            running.deliver(batch);
        }
    }
    // The last one comes, so that every slot's checkpoint gets to its end.
    running.deliver(&events[events.len() - 60..]);
    let last = events.last().expect("events").token();
    running.reached_token(&ALL, &last).await;
    running.stop().await;
    assert_ne!(rows::all(&pool).await, expected::tables(&events));
}
