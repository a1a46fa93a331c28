//! One owner at most, whoever moves: movers at the same time, movers that come late, what a slot carries.

use domain::product::Product;
use domain::{StreamId, TenantId};
use event_store::{
    Error, EventFilter, MoveEnd, MoveOptions, MoveState, Position, Reopen, ShardId, Slot, SlotPosition, Step,
    Unreachable, restored,
};

use super::{Held, audit, dies_after, moved, mover, never, on_the_first, plan};
use crate::aggregates::{define, metadata};
use crate::support::{Platform, append, connect, create, fresh_order, number, run, within};

async fn control_says(platform: &Platform, slot: Slot) -> i64 {
    let sql = format!("SELECT shard_id::bigint FROM placement WHERE slot = {slot}");
    number(&mut connect(&platform.control).await, &sql).await
}

#[tokio::test]
async fn given_a_slot_that_moves_there_and_back_then_streams_numbers_and_catalogue_go_with_it() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    let pizza = StreamId::product(&tenant, &"pizza".parse().expect("an id"));
    let products = store.aggregates::<Product>();
    let mover = mover(&platform, MoveOptions::default());
    for (nth, target) in [1_i16, 0, 1, 0].into_iter().enumerate() {
        let loaded = products.load(&pizza).await.expect("load");
        assert_eq!(loaded.version.0, i64::try_from(nth).expect("small"));
        let defined = products.commit(vec![define(900)], loaded, metadata()).await;
        defined.expect("commit");
        let created = store.append(create(&fresh_order(&tenant))).await.expect("stored");
        assert_eq!(
            created.number.expect("a number").0,
            i64::try_from(nth).expect("small") + 1
        );
        let done = moved(&mover, slot, target).await;
        assert_eq!(
            (done.state, done.events),
            (MoveState::Done, Some(2 * (i64::try_from(nth).expect("small") + 1)))
        );
        assert_eq!(control_says(&platform, slot).await, i64::from(target));
        assert_eq!(
            store.head_of(&tenant).await.expect("head").slot_position.0,
            done.events.expect("events")
        );
    }
    audit(&platform, &store).await;
    let events = store.read_slot(slot, SlotPosition(0), 100).await.expect("read");
    assert_eq!(events.len(), 8);
}

#[tokio::test]
async fn given_a_slot_without_events_then_it_moves_and_begins_at_the_target() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let done = moved(&mover(&platform, MoveOptions::default()), Slot::of(&tenant), 1).await;
    assert_eq!(done.events, Some(0));
    let stored = store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    assert_eq!(
        (stored.shard, stored.events[0].slot_position),
        (ShardId(1), SlotPosition(1))
    );
    let mover = mover(&platform, MoveOptions::default());
    let again = mover.plan(&[Slot::of(&tenant)], ShardId(1)).await.expect("planned");
    assert_eq!((again.moves.len(), again.there), (0, vec![Slot::of(&tenant)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_slot_on_the_move_then_a_second_mover_of_it_is_refused_and_one_of_another_slot_is_not() {
    let platform = Platform::fresh(3).await;
    let store = platform.store().await;
    let mover = mover(&platform, MoveOptions::default());
    let (slot, other) = (Slot(0), Slot(3));
    let planned = plan(&mover, slot, 1).await;
    let first = Held::at(&mover, &planned, Step::Copied).await;

    let elsewhere = mover.plan(&[slot], ShardId(2)).await;
    assert!(
        matches!(&elsewhere, Err(Error::NotMoved { reason, .. }) if reason.contains("shard 1 already")),
        "{elsewhere:?}"
    );
    let second = within("the second", mover.run(&planned, &never())).await;
    assert!(
        matches!(&second, Err(Error::NotMoved { reason, .. }) if reason.contains("another process")),
        "{second:?}"
    );
    moved(&mover, other, 2).await;

    let end = first.let_go().await.expect("moved");
    assert!(matches!(end, MoveEnd::Done(_)), "{end:?}");
    audit(&platform, &store).await;
}

/// The control database takes every mover for dead that is at work, and so does the next mover.
async fn taken_for_dead(platform: &Platform) {
    run(
        &mut connect(&platform.control).await,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() \
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_mover_taken_for_dead_and_undone_when_it_comes_back_then_it_opens_nothing() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    let mover = mover(
        &platform,
        MoveOptions {
            max_pause: std::time::Duration::from_secs(60),
            ..MoveOptions::default()
        },
    );
    let planned = plan(&mover, Slot::of(&tenant), 1).await;
    let first = Held::at(&mover, &planned, Step::Drained).await;
    taken_for_dead(&platform).await;
    let end = mover.undo(&planned).await.expect("undone");
    assert!(matches!(end, MoveEnd::Undone(_)), "{end:?}");
    let stored = store
        .append(append(&fresh_order(&tenant), 0))
        .await
        .expect("open again");
    assert_eq!(stored.shard, ShardId(0));

    let refused = first.let_go().await;
    assert!(matches!(refused, Err(Error::NotMoved { .. })), "{refused:?}");
    let stored = store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    assert_eq!(stored.shard, ShardId(0));
    audit(&platform, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_mover_taken_for_dead_when_it_comes_back_after_a_later_move_then_it_opens_nothing() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    let patient = MoveOptions {
        max_pause: std::time::Duration::from_secs(60),
        ..MoveOptions::default()
    };
    let mover = mover(&platform, patient);
    let planned = plan(&mover, slot, 1).await;
    let first = Held::at(&mover, &planned, Step::Decided).await;
    taken_for_dead(&platform).await;
    let end = within("the next mover", mover.run(&planned, &never())).await;
    assert!(matches!(end, Ok(MoveEnd::Done(_))), "{end:?}");
    moved(&mover, slot, 0).await;

    let refused = first.let_go().await;
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. }) if reason.contains("took it up again")),
        "{refused:?}"
    );
    // Nor where it had looked at its source before.
    let late = format!(
        "SELECT open_slot({slot}::smallint, {}, 4, 1, 1, now(), '{{}}', '{{}}', '{{}}', '{{}}')",
        planned.id.0
    );
    let refused = sqlx::query(&late)
        .execute(&mut platform.shard(1).await)
        .await
        .expect_err("refused");
    assert_eq!(
        refused.as_database_error().and_then(|it| it.code()).as_deref(),
        Some("CM020")
    );
    let stored = store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    assert_eq!(stored.shard, ShardId(0));
    audit(&platform, &store).await;
}

#[tokio::test]
async fn given_a_fence_that_arrives_after_its_move_was_undone_then_it_is_refused() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    let mover = mover(&platform, MoveOptions::default());
    let planned = plan(&mover, slot, 1).await;
    dies_after(&platform, &planned, Step::Copied).await;
    mover.undo(&planned).await.expect("undone");
    let late = format!("SELECT fence_slot({slot}::smallint, {}, 1, 1)", planned.id.0);
    let refused = sqlx::query(&late)
        .execute(&mut platform.shard(0).await)
        .await
        .expect_err("refused");
    assert_eq!(
        refused.as_database_error().and_then(|it| it.code()).as_deref(),
        Some("CM020")
    );
    store.append(append(&fresh_order(&tenant), 0)).await.expect("open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_order_numbers_that_arrive_late_at_the_target_then_no_number_is_given_out_twice() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    for _ in 0..2 {
        store.append(create(&fresh_order(&tenant))).await.expect("stored");
    }
    let patient = MoveOptions {
        max_pause: std::time::Duration::from_secs(60),
        ..MoveOptions::default()
    };
    let mover = mover(&platform, patient);
    let planned = plan(&mover, slot, 1).await;
    let held = Held::at(&mover, &planned, Step::Verified).await;
    // As an earlier mover sent them, before the second order.
    let late = format!(
        "SELECT receive_order_numbers({slot}::smallint, '{{{tenant}}}', '{{roma}}', '{{2026-02-28}}', '{{1}}')"
    );
    run(&mut platform.shard(1).await, &late).await;
    let end = held.let_go().await.expect("moved");
    assert!(matches!(end, MoveEnd::Done(_)), "{end:?}");

    let created = store.append(create(&fresh_order(&tenant))).await.expect("stored");
    assert_eq!((created.shard, created.number.expect("a number").0), (ShardId(1), 3));
    audit(&platform, &store).await;
}

async fn reopened(platform: &Platform, shard: i16) {
    let reopen = Reopen {
        shard: ShardId(shard),
        shards: &platform.shards,
        unreachable: Unreachable::Refuse,
        known: &[],
    };
    restored(&mut connect(&platform.control).await, &reopen)
        .await
        .expect("reopened");
}

#[tokio::test]
async fn given_shards_restored_meanwhile_then_a_slot_comes_back_with_its_own_incarnations() {
    let platform = Platform::fresh(2).await;
    let (store, tenant): (_, TenantId) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    let mover = mover(&platform, MoveOptions::default());
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    moved(&mover, slot, 1).await;
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    // Shard 0 gives its copy an incarnation that the slot never had; shard 1 gives it one.
    reopened(&platform, 0).await;
    reopened(&platform, 0).await;
    reopened(&platform, 1).await;
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    let before = store.head_of(&tenant).await.expect("head");
    moved(&mover, slot, 0).await;
    assert_eq!(store.head_of(&tenant).await.expect("head"), before);
    let history = store.history(ShardId(0)).await.expect("history");
    assert_eq!(history.agreed(before), Some(SlotPosition(3)));
    let first = format!("{slot}.1.3").parse().expect("a token");
    assert_eq!(history.agreed(first), Some(SlotPosition(2)), "as shard 1 noted it");
    audit(&platform, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_slot_that_is_shut_then_reads_and_appends_say_so_and_what_follows_the_shard_goes_on() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let (slot, order) = (Slot::of(&tenant), fresh_order(&tenant));
    for version in 0..3 {
        store.append(append(&order, version)).await.expect("stored");
    }
    let patient = MoveOptions {
        max_pause: std::time::Duration::from_secs(60),
        ..MoveOptions::default()
    };
    let mover = mover(&platform, patient);
    let planned = plan(&mover, slot, 1).await;
    let held = Held::at(&mover, &planned, Step::Fenced).await;

    let not_owned = |error: Option<Error>| assert!(matches!(error, Some(Error::NotOwned { .. })), "{error:?}");
    not_owned(store.append(append(&order, 3)).await.err());
    not_owned(store.read_slot(slot, SlotPosition(0), 10).await.err());
    not_owned(store.head_of(&tenant).await.err());
    let all = EventFilter::default();
    not_owned(store.read_tenant(&tenant, &all, SlotPosition(0), 10).await.err());
    let pizza = StreamId::product(&tenant, &"pizza".parse().expect("an id"));
    let loaded = store.aggregates::<Product>().load_fresh(&pizza).await;
    not_owned(loaded.err());
    let mut tail = store.tail(ShardId(0), Position(0)).expect("tail");
    let seen = within("the shard's tail", tail.next(10)).await.expect("next");
    assert_eq!(seen.len(), 3, "its relay has them to publish");
    let heads = store.cursor_at_heads().await.expect("heads");
    assert_eq!(heads.position(slot), SlotPosition(3));

    assert!(matches!(held.let_go().await, Ok(MoveEnd::Done(_))));
    let page = store.read_tenant(&tenant, &all, SlotPosition(0), 10).await;
    assert_eq!(page.expect("a page").events.len(), 3);
    let stored = store.append(append(&order, 3)).await.expect("stored");
    let mut there = store.tail(ShardId(1), Position(0)).expect("tail");
    let seen = within("the target's tail", there.next(10)).await.expect("next");
    assert_eq!(seen[0].token(), stored.token(), "and of the copies nothing");
}
