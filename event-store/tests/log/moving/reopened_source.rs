//! Sources that are promoted or restored, without the end of their log, while a slot leaves them.

use std::time::Duration;

use domain::TenantId;
use event_store::{
    Error, EventStore, MoveEnd, MoveOptions, Reopen, ShardId, Slot, SlotPosition, Step, Unreachable, promote,
};

use super::{Acknowledged, Held, audit, dies_after, faults_of, moved, mover, never, on_the_first, plan};
use crate::support::{Platform, append, connect, fresh_order, run, within};

/// The slot's events that survive.
const KEPT: usize = 3;

async fn one_more(store: &EventStore, tenant: &TenantId, acknowledged: &mut Acknowledged) {
    let wanted = append(&fresh_order(tenant), 0);
    let committed = store.append(wanted.clone()).await.expect("stored");
    assert_eq!(committed.shard, ShardId(0));
    acknowledged.push((wanted, committed));
}

async fn promoted(platform: &Platform) {
    let reopen = Reopen {
        shard: ShardId(0),
        shards: &platform.shards,
        unreachable: Unreachable::Refuse,
        known: &[],
    };
    promote(&mut connect(&platform.control).await, &reopen)
        .await
        .expect("promoted");
}

/// As a standby that lacked the slot's end, promoted.
async fn promoted_without_the_end(platform: &Platform, slot: Slot) {
    let without_the_end = format!(
        "BEGIN; \
         ALTER TABLE events DISABLE TRIGGER events_are_append_only; \
         DELETE FROM events WHERE slot = {slot} AND slot_position > {KEPT}; \
         ALTER TABLE events ENABLE TRIGGER events_are_append_only; \
         UPDATE slots SET slot_position = {KEPT} WHERE slot = {slot}; \
         UPDATE shard SET position = {KEPT}, timeline = timeline + 7; \
         COMMIT"
    );
    run(&mut platform.shard(0).await, &without_the_end).await;
    promoted(platform).await;
}

/// Clients append as many as were lost, and more than that.
#[tokio::test]
async fn given_a_source_promoted_without_its_end_when_the_move_goes_on_then_it_is_refused_and_nothing_is_lost() {
    for appended in [2, 4] {
        let platform = Platform::fresh(2).await;
        let (store, tenant) = (platform.store().await, on_the_first());
        let mut acknowledged = Acknowledged::new();
        for _ in 0..KEPT + 2 {
            one_more(&store, &tenant, &mut acknowledged).await;
        }
        let mover = mover(&platform, MoveOptions::default());
        let planned = plan(&mover, Slot::of(&tenant), 1).await;
        dies_after(&platform, &planned, Step::Copied).await;
        let compared = mover.unfinished().await.expect("moves")[0].verified;
        assert_eq!(compared, SlotPosition(5), "all of it, before the promotion");

        promoted_without_the_end(&platform, Slot::of(&tenant)).await;
        acknowledged.truncate(KEPT);
        let store = platform.store().await;
        for _ in 0..appended {
            one_more(&store, &tenant, &mut acknowledged).await;
        }
        let refused = within("the move", mover.run(&planned, &never())).await;
        assert!(
            matches!(&refused, Err(Error::NotMoved { reason, .. })
                if reason.contains("differ between its shards") && reason.contains("--undo")),
            "{appended} appended: {refused:?}"
        );
        let end = mover.undo(&planned).await.expect("undone");
        assert!(matches!(end, MoveEnd::Undone(_)), "{end:?}");
        one_more(&store, &tenant, &mut acknowledged).await;
        assert_eq!(faults_of(&platform, &acknowledged).await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_source_promoted_between_comparison_and_fence_then_the_move_is_undone_and_nothing_is_lost() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let mut acknowledged = Acknowledged::new();
    for _ in 0..KEPT + 2 {
        one_more(&store, &tenant, &mut acknowledged).await;
    }
    let patient = MoveOptions {
        max_pause: Duration::from_secs(60),
        ..MoveOptions::default()
    };
    let mover = mover(&platform, patient);
    let planned = plan(&mover, Slot::of(&tenant), 1).await;
    let held = Held::at(&mover, &planned, Step::Copied).await;

    promoted_without_the_end(&platform, Slot::of(&tenant)).await;
    acknowledged.truncate(KEPT);
    let store = platform.store().await;
    for _ in 0..2 {
        one_more(&store, &tenant, &mut acknowledged).await;
    }
    let end = held.let_go().await.expect("ended");
    let MoveEnd::Undone(undone) = end else {
        panic!("{end:?}")
    };
    let reason = undone.reason.expect("a reason");
    assert!(reason.contains("promoted or restored since"), "{reason}");
    one_more(&store, &tenant, &mut acknowledged).await;
    assert_eq!(faults_of(&platform, &acknowledged).await, Vec::<String>::new());
}

/// As a standby that lacked the fence, promoted.
async fn promoted_without_the_fence(platform: &Platform, slot: Slot) {
    let without_the_fence = format!(
        "UPDATE slots SET owned = true, fenced = false, move = 0 WHERE slot = {slot}; \
         UPDATE shard SET timeline = timeline + 7"
    );
    run(&mut platform.shard(0).await, &without_the_fence).await;
    promoted(platform).await;
}

#[tokio::test]
async fn given_a_source_promoted_without_the_fence_when_it_was_decided_then_the_target_stays_shut_and_undo_ends_it() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    let mut acknowledged = Acknowledged::new();
    one_more(&store, &tenant, &mut acknowledged).await;
    let mover = mover(&platform, MoveOptions::default());
    let planned = plan(&mover, slot, 1).await;
    dies_after(&platform, &planned, Step::Decided).await;

    promoted_without_the_fence(&platform, slot).await;
    let store = platform.store().await;
    one_more(&store, &tenant, &mut acknowledged).await;
    let refused = within("the move", mover.run(&planned, &never())).await;
    assert!(
        matches!(&refused, Err(Error::NotMoved { reason, .. })
            if reason.contains("took it up again") && reason.contains("--undo")),
        "{refused:?}"
    );
    audit(&platform, &store).await;

    let end = mover.undo(&planned).await.expect("undone");
    assert!(matches!(end, MoveEnd::Undone(_)), "{end:?}");
    assert_eq!(mover.unfinished().await.expect("moves"), []);
    one_more(&store, &tenant, &mut acknowledged).await;
    let done = moved(&mover, slot, 1).await;
    assert_eq!(done.events, Some(3));
    assert_eq!(faults_of(&platform, &acknowledged).await, Vec::<String>::new());
    audit(&platform, &store).await;
}

#[tokio::test]
async fn given_a_source_promoted_without_the_fence_when_the_target_was_opened_then_the_move_is_finished() {
    let platform = Platform::fresh(2).await;
    let (store, tenant) = (platform.store().await, on_the_first());
    let slot = Slot::of(&tenant);
    store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    let mover = mover(&platform, MoveOptions::default());
    let planned = plan(&mover, slot, 1).await;
    dies_after(&platform, &planned, Step::Opened).await;

    promoted_without_the_fence(&platform, slot).await;
    let refused = mover.undo(&planned).await;
    assert!(matches!(refused, Err(Error::NotMoved { .. })), "{refused:?}");
    let end = within("the move", mover.run(&planned, &never())).await;
    assert!(matches!(end, Ok(MoveEnd::Done(_))), "{end:?}");
    let store = platform.store().await;
    let stored = store.append(append(&fresh_order(&tenant), 0)).await.expect("stored");
    assert_eq!(stored.shard, ShardId(1));
    audit(&platform, &store).await;
}
