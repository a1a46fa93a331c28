//! What stops a slot, or a projector: never skipped, never parked, and said aloud.

use domain::TenantId;
use event_store::{Slot, SlotPosition};
use projector::{Stopped, ensure_generations};
use service::health::Status;
use sqlx::PgPool;

use crate::support::{
    ALL, Running, SHARD, eventually, expected, project, read_store, rows, samples, start, start_given,
};

fn roma() -> (TenantId, Slot) {
    let roma = samples::tenant("roma");
    (roma.clone(), Slot::of(&roma))
}

/// A read store that has three orders of roma's.
async fn three_orders_applied() -> (PgPool, samples::World) {
    let (pool, mut world) = (read_store().await, samples::World::new());
    for _ in 0..3 {
        world.place(&roma().0, &samples::Sample::default());
    }
    project(&pool, &world.log, [world.events()]).await;
    (pool, world)
}

fn why_stopped(running: &Running, slot: Slot) -> Option<Stopped> {
    running.progress.shards().get(&SHARD)?.stopped.get(&slot).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_an_event_newer_than_the_binary_then_its_slot_stops_there_and_others_go_on() {
    let (pool, mut world) = (read_store().await, samples::World::new());
    let (roma, milano) = (samples::tenant("roma"), samples::tenant("milano"));
    let order = world.place(&roma, &samples::Sample::default());
    world.log.append_raw(&order, "OrderTeleported", "1.0", "{}", None);
    let understood = world.events();
    world.place(&roma, &samples::Sample::default());
    let elsewhere = world.place(&milano, &samples::Sample::default());
    let running = start(&pool, &world.log);
    running.deliver(&world.events());
    let other = world
        .events()
        .into_iter()
        .find(|event| event.stream == elsewhere)
        .expect("an event");
    running.reached_token(&ALL, &other.token()).await;

    let newer = Stopped::Newer {
        event_type: "OrderTeleported".to_owned(),
        version: "1.0".to_owned(),
    };
    eventually("the stop is shown", || async {
        why_stopped(&running, Slot::of(&roma)) == Some(newer.clone())
    })
    .await;
    assert_eq!(running.progress.health().status, Status::Degraded);
    assert!(
        running
            .progress
            .health()
            .detail
            .expect("a detail")
            .contains("OrderTeleported 1.0")
    );
    let first = understood.first().expect("an event");
    assert!(
        rows::have_reached(&pool, &ALL, &first.token()).await,
        "what comes before it is applied"
    );
    assert!(!rows::have_reached(&pool, &ALL, &understood[1].token()).await);
    assert_eq!(rows::count(&pool, "meta.parked_streams").await, 0);
    // Comparing with the heads does not get it past the event either.
    running.deliver(&world.events());
    eventually("compared", || async {
        running
            .progress
            .shards()
            .get(&SHARD)
            .is_some_and(|status| status.lag_events.get("orders") == Some(&2))
    })
    .await;
    running.stop().await;
    assert_eq!(rows::count(&pool, "orders_g1.orders").await, 2);
}

/// Of what stands still the age is asked for, and that may take for ever.
#[tokio::test(flavor = "multi_thread")]
async fn given_a_slot_that_stands_still_and_a_log_that_hangs_when_asked_how_old_it_is_then_others_go_on() {
    let (pool, mut world) = (read_store().await, samples::World::new());
    let order = world.place(&roma().0, &samples::Sample::default());
    world.log.append_raw(&order, "OrderTeleported", "1.0", "{}", None);
    world.log.hang();
    let running = start(&pool, &world.log);
    running.deliver(&world.events());
    eventually("it was asked", || async { world.log.hanging() > 0 }).await;
    world.place(&samples::tenant("milano"), &samples::Sample::default());
    let elsewhere = world.events().pop().expect("an event");
    running.deliver(std::slice::from_ref(&elsewhere));
    running.reached_token(&ALL, &elsewhere.token()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_read_models_ahead_of_the_log_then_the_slot_stops_until_the_log_has_passed_them() {
    let (pool, world) = three_orders_applied().await;
    let (_, slot) = roma();
    world.log.truncate(slot, SlotPosition(1));

    let running = start(&pool, &world.log);
    let ahead = Stopped::AheadOfLog {
        checkpoint: SlotPosition(3),
        head: SlotPosition(1),
    };
    eventually("the stop is shown", || async {
        why_stopped(&running, slot) == Some(ahead.clone())
    })
    .await;
    assert_eq!(running.progress.health().status, Status::Degraded);
    running.stop().await;
    assert_eq!(
        rows::count(&pool, "orders_g1.orders").await,
        3,
        "nothing is taken back by itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_slot_that_was_restored_then_events_of_its_new_incarnation_are_not_applied() {
    let (pool, mut world) = three_orders_applied().await;
    let (roma, slot) = roma();
    world.log.restore(slot, SlotPosition(2));
    for _ in 0..3 {
        world.place(&roma, &samples::Sample::default());
    }

    let running = start(&pool, &world.log);
    running.deliver(&world.events());
    eventually("the stop is shown", || async {
        matches!(why_stopped(&running, slot), Some(Stopped::OtherIncarnation { .. }))
    })
    .await;
    running.stop().await;
    assert_eq!(rows::count(&pool, "orders_g1.orders").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_slot_restored_to_where_it_was_read_then_its_new_incarnation_goes_on() {
    let (pool, mut world) = three_orders_applied().await;
    let (roma, slot) = roma();
    let old = world.events();
    world.log.restore(slot, SlotPosition(3));
    world
        .log
        .tell_branch(slot, event_store::Incarnation(2), SlotPosition(3));
    world.place(&roma, &samples::Sample::default());

    let running = start(&pool, &world.log);
    running.reached(&ALL, &world.log).await;
    // What the older incarnation had beyond is void, and does not take the place of what comes.
    let mut void = old[2].clone();
    void.slot_position = SlotPosition(5);
    running.deliver(&[void]);
    world.place(&roma, &samples::Sample::default());
    running.deliver(&world.events());
    running.reached(&ALL, &world.log).await;
    running.stop().await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_void_records_that_come_before_the_first_look_at_the_heads_then_they_are_not_applied() {
    let (pool, mut world) = (read_store().await, samples::World::new());
    let roma = samples::tenant("roma");
    let slot = Slot::of(&roma);
    world.place(&roma, &samples::Sample::default());
    let void = world.events();
    world.log.restore(slot, SlotPosition(0));
    world
        .log
        .tell_branch(slot, event_store::Incarnation(2), SlotPosition(0));
    world.place(&roma, &samples::Sample::default());
    world.log.answer_slowly();

    let running = start(&pool, &world.log);
    running.deliver(&void);
    running.deliver(&world.events());
    running.reached(&ALL, &world.log).await;
    running.stop().await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_slots_whose_heads_cannot_be_looked_at_then_nothing_of_them_is_applied_until_they_can() {
    let (pool, world) = (read_store().await, samples::busy_week());
    world.log.set_away(true);
    let running = start_given(&pool, &world.log, Slot::all().collect());
    running.deliver(&world.events());
    eventually("the problem is shown", || async {
        running.progress.shards().get(&SHARD).is_some_and(|it| it.log_problem)
    })
    .await;
    assert_eq!(rows::count(&pool, "orders_g1.orders").await, 0);
    world.log.set_away(false);
    running.reached(&ALL, &world.log).await;
    running.stop().await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_read_model_filled_by_another_code_version_then_it_alone_is_left_alone() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let first = ensure_generations(&pool).await.expect("created");
    let again = ensure_generations(&pool).await.expect("found");
    assert_eq!(first, again);
    assert_eq!(again.len(), ALL.len());
    assert!(again.iter().all(|generation| generation.number == 1));
    assert_eq!(
        rows::count(&pool, "meta.checkpoints").await,
        ALL.len() as i64 * i64::from(Slot::COUNT)
    );
    sqlx::query("UPDATE meta.generations SET code_version = 99 WHERE read_model = 'daily_sales'")
        .execute(&pool)
        .await
        .expect("changed");
    assert_eq!(
        ensure_generations(&pool).await.expect("the others").len(),
        ALL.len() - 1
    );

    let running = start(&pool, &world.log);
    running.deliver(&world.events());
    running
        .reached(&["orders", "order_timeline", "products", "establishments"], &world.log)
        .await;
    let refused = running.progress.refused();
    assert_eq!(refused.keys().copied().collect::<Vec<_>>(), ["daily_sales"]);
    assert!(
        refused["daily_sales"].contains("comanda projections rebuild daily_sales"),
        "{refused:?}"
    );
    assert_eq!(running.progress.health().status, Status::Degraded);
    assert_eq!(rows::count(&pool, "daily_sales_g1.days").await, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_projectors_that_start_together_then_each_read_model_gets_one_generation() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let all = (0..4).map(|_| ensure_generations(&pool));
    for created in futures::future::join_all(all).await {
        assert_eq!(created.expect("created").len(), ALL.len());
    }
    assert_eq!(rows::count(&pool, "meta.generations").await, ALL.len() as i64);
    project(&pool, &world.log, [world.events()]).await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}
