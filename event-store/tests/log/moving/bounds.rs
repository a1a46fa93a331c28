//! Relays that are behind, and pauses that would be too long.

use std::time::Duration;

use domain::TenantId;
use event_store::{Error, EventStore, MoveEnd, MoveOptions, MoveState, ShardId, Slot, Step};

use super::{Held, audit, moved, mover, never, on_the_first, plan};
use crate::support::{Platform, append, fresh_order, run, within};

/// As a relay leaves it that has published up to a position.
async fn published(platform: &Platform, shard: usize, position: i64) {
    run(
        &mut platform.shard(shard).await,
        &format!(
            "INSERT INTO relay_cursors (topic, position) VALUES ('orders', {position}) \
             ON CONFLICT (topic) DO UPDATE SET position = excluded.position"
        ),
    )
    .await;
}

fn impatient() -> MoveOptions {
    MoveOptions {
        max_pause: Duration::from_millis(200),
        relay_patience: Duration::from_millis(200),
        ..MoveOptions::default()
    }
}

#[tokio::test]
async fn given_a_relay_that_is_away_then_nothing_is_shut_and_the_topic_is_named() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    for _ in 0..3 {
        store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    }
    published(&platform, 0, 2).await;
    let mover_here = mover(&platform, impatient());
    let planned = plan(&mover_here, slot, 1).await;
    let refused = mover_here.run(&planned, &never()).await;
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. })
            if reason.contains("topic orders has the shard's events up to 2, and no relay is at it")),
        "{refused:?}"
    );
    store
        .append(append(&fresh_order(&tenant), 0))
        .await
        .expect("nothing was shut");

    let abandoned = MoveOptions {
        abandoned_topics: vec!["orders".to_owned()],
        ..impatient()
    };
    let end = mover(&platform, abandoned)
        .run(&planned, &never())
        .await
        .expect("moved");
    assert!(matches!(end, MoveEnd::Done(_)), "{end:?}");
    // What was copied here is not this shard's to publish, so that nothing waits for its relay.
    published(&platform, 1, 0).await;
    published(&platform, 0, 4).await;
    moved(&mover(&platform, impatient()), slot, 0).await;
    audit(&platform, &store).await;
}

#[tokio::test]
async fn given_a_topic_that_only_the_target_is_published_to_then_the_sources_relay_is_waited_for() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    published(&platform, 1, 0).await;
    let mover = mover(&platform, impatient());
    let planned = plan(&mover, Slot::of(&tenant), 1).await;
    let refused = mover.run(&planned, &never()).await;
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. }) if reason.contains("topic orders")),
        "{refused:?}"
    );
    published(&platform, 0, 1).await;
    let end = mover.run(&planned, &never()).await.expect("moved");
    assert!(matches!(end, MoveEnd::Done(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_relay_that_stops_as_the_slot_is_shut_then_the_move_is_undone_within_the_bound() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    published(&platform, 0, 1).await;
    let impatient_mover = mover(&platform, impatient());
    let planned = plan(&impatient_mover, slot, 1).await;
    let held = Held::at(&impatient_mover, &planned, Step::Copied).await;
    store
        .append(append(&fresh_order(&tenant), 0))
        .await
        .expect("one that is not published");
    let end = held.let_go().await.expect("ended");
    let MoveEnd::Undone(undone) = end else {
        panic!("{end:?}")
    };
    let reason = undone.reason.expect("a reason");
    assert!(reason.contains("more than 200 ms; it was draining"), "{reason}");
    let stored = within("an append", store.append(append(&fresh_order(&tenant), 0)))
        .await
        .expect("open again");
    assert_eq!(stored.shard, ShardId(0));

    // Later, with the relay back.
    published(&platform, 0, 3).await;
    let done = moved(&mover(&platform, MoveOptions::default()), slot, 1).await;
    assert_eq!((done.state, done.events), (MoveState::Done, Some(3)));
    audit(&platform, &store).await;
}

/// Places orders until one is taken by the second shard, at a relay of the first that has never
/// published the last of them, unless no more are taken.
async fn order_ahead_of_the_relay(platform: &Platform, store: &EventStore, tenant: &TenantId) {
    let mut last = None;
    loop {
        match store.append(append(&fresh_order(tenant), 0)).await {
            Ok(stored) if stored.shard == ShardId(1) => return,
            Ok(stored) => {
                let before = last.replace(stored.events[0].position.0);
                published(platform, 0, before.unwrap_or(0)).await;
            }
            Err(_) => {
                if let Some(last) = last.take() {
                    published(platform, 0, last).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_relay_that_is_always_a_little_behind_then_the_slot_is_moved_all_the_same() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    // Nothing of it is published when the move begins.
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    published(&platform, 0, 0).await;
    let mover = mover(&platform, MoveOptions::default());
    let moving = moved(&mover, Slot::of(&tenant), 1);
    let ordering = order_ahead_of_the_relay(&platform, &store, &tenant);
    let (moved, ()) = within("a move while orders come", async { tokio::join!(moving, ordering) }).await;
    assert_eq!(moved.state, MoveState::Done);
    audit(&platform, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_relay_that_is_too_slow_for_the_pause_then_nothing_is_shut_and_its_time_is_told() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    published(&platform, 0, 0).await;
    let hurried = MoveOptions {
        max_pause: Duration::from_millis(1),
        relay_patience: Duration::from_secs(1),
        ..MoveOptions::default()
    };
    let mover = mover(&platform, hurried);
    let planned = plan(&mover, Slot::of(&tenant), 1).await;
    let stop = never();
    let refused = tokio::select! {
        end = mover.run(&planned, &stop) => end,
        () = order_ahead_of_the_relay(&platform, &store, &tenant) => panic!("it was moved"),
    };
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. })
            if reason.contains("its relay took") && reason.contains("--max-pause-ms")),
        "{refused:?}"
    );
    store.append(append(&fresh_order(&tenant), 0)).await.expect("open");
}

#[tokio::test]
async fn given_a_stop_while_it_copies_then_nothing_is_shut_and_it_goes_on_later() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    for _ in 0..300 {
        store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    }
    let mover = mover(&platform, MoveOptions::default());
    let planned = plan(&mover, Slot::of(&tenant), 1).await;
    let stop = never();
    stop.cancel();
    let end = mover.run(&planned, &stop).await.expect("stopped");
    assert!(matches!(end, MoveEnd::Stopped(_)), "{end:?}");
    store.append(append(&fresh_order(&tenant), 0)).await.expect("open");
    assert_eq!(mover.unfinished().await.expect("moves").len(), 1);
    let done = moved(&mover, Slot::of(&tenant), 1).await;
    assert_eq!((done.id, done.events), (planned.id, Some(301)));
    audit(&platform, &store).await;
}
