//! Shards that were promoted or restored: read models at or before the point where the new
//! incarnation began go on, those that are ahead stop.

use std::collections::BTreeSet;

use event_store::{RecordedEvent, ShardId, Slot, SlotPosition};
use projector::{Progress, Stopped};
use service::health::Status;
use service::settings::ProjectorSettings;

use crate::support::platform::Platform;
use crate::support::real::{copy, reached, running, whole_log};
use crate::support::site::{PATIENCE, Site, eventually};
use crate::support::{expected, read_store, rows, samples};

fn stopped(progress: &Progress) -> BTreeSet<Slot> {
    let shards = progress.shards();
    let all = shards.values().flat_map(|status| &status.stopped);
    all.map(|(slot, why)| {
        // Until the restored shard is opened it is only shorter.
        let ahead = matches!(why, Stopped::OtherIncarnation { .. } | Stopped::AheadOfLog { .. });
        assert!(ahead, "{why:?}");
        *slot
    })
    .collect()
}

async fn head(platform: &Platform, slot: Slot) -> SlotPosition {
    let shard = platform.store.shard_of(slot).expect("owned");
    let heads = platform.store.heads(shard).await.expect("heads");
    let found = heads.iter().find(|head| head.slot == slot);
    found.expect("the slot").slot_position
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_promoted_shard_then_its_tail_is_followed_on_and_only_what_is_ahead_of_a_restored_one_stops() {
    let (platform, pool) = (Platform::of(1).await, read_store().await);
    let store = platform.store.clone();
    let settings = ProjectorSettings {
        reconcile_interval_ms: 200,
        ..ProjectorSettings::default()
    };
    let (projector, stop) = running(&store, &pool, settings);
    let mut world = samples::busy_week();
    let events = world.events();
    let (before, after) = events.split_at(events.len() / 2);
    for token in copy(&store, before).await {
        reached(&pool, &projector, &token).await;
    }
    platform.promoted(ShardId(0)).await;
    for token in copy(&store, after).await {
        reached(&pool, &projector, &token).await;
    }
    assert_eq!(stopped(projector.progress()), BTreeSet::new());
    assert_eq!(projector.health().status, Status::Ok);
    assert_eq!(rows::all(&pool).await, expected::tables(&whole_log(&store).await));

    // The shard's last event was applied, and is not in the copy that it is restored from.
    let torino = Slot::of(&samples::tenant("torino"));
    world.place(&samples::tenant("torino"), &samples::Sample::default());
    for token in copy(&store, &world.events()[events.len()..]).await {
        reached(&pool, &projector, &token).await;
    }
    platform.lose_beyond(torino, SlotPosition(0)).await;
    platform.restored(ShardId(0)).await;
    let known = world.events().len();
    // It gets the position that the tail has passed already.
    world.place(&samples::tenant("roma"), &samples::Sample::default());
    for token in copy(&store, &world.events()[known..]).await {
        reached(&pool, &projector, &token).await;
    }
    eventually("the slot that is ahead stops, and no other", async || {
        stopped(projector.progress()) == BTreeSet::from([torino])
    })
    .await;
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_records_of_an_older_incarnation_in_the_topic_then_they_are_dropped_and_what_is_ahead_stops() {
    let site = Site::shared("branches").await;
    let mut world = samples::busy_week();
    let tokens = copy(&site.store, &world.events()).await;
    let known = whole_log(&site.store).await;
    site.publish(&known).await;
    site.claim_published().await;
    let member = site.start();
    member.reached(&tokens).await;
    member.stop().await;

    // Published, applied by nobody, and not in the copies that the shards are restored from.
    let tenants = ["torino", "roma"].map(samples::tenant);
    let place = |world: &mut samples::World| {
        let known = world.events().len();
        for _ in 0..3 {
            for tenant in &tenants {
                world.place(tenant, &samples::Sample::default());
            }
        }
        world.events().split_off(known)
    };
    let mut kept = vec![];
    for tenant in &tenants {
        kept.push((Slot::of(tenant), head(&site.platform, Slot::of(tenant)).await));
    }
    let lost = place(&mut world);
    copy(&site.store, &lost).await;
    let not_in = |log: Vec<RecordedEvent>, known: &[RecordedEvent]| -> Vec<RecordedEvent> {
        let is_known = |event: &RecordedEvent| known.iter().any(|it| it.event_id == event.event_id);
        log.into_iter().filter(|event| !is_known(event)).collect()
    };
    let lost = not_in(whole_log(&site.store).await, &known);
    assert_eq!(lost.len(), 6);
    site.publish(&lost).await;
    for (slot, kept) in kept {
        site.platform.lose_beyond(slot, kept).await;
    }
    site.platform.restored(ShardId(0)).await;
    site.platform.restored(ShardId(1)).await;
    let tokens = copy(&site.store, &place(&mut world)).await;
    site.publish(&not_in(whole_log(&site.store).await, &known)).await;
    site.claim_published().await;
    let member = site.start();
    member.reached(&tokens).await;
    assert_eq!(stopped(member.projector.progress()), BTreeSet::new());
    site.assert_rows().await;

    // Applied this time.
    let milano = Slot::of(&samples::tenant("milano"));
    let kept = head(&site.platform, milano).await;
    let shard = site.store.shard_of(milano).expect("owned");
    site.platform.lose_beyond(milano, SlotPosition(kept.0 - 1)).await;
    site.platform.restored(shard).await;
    eventually("the slot that is ahead stops, and no other", async || {
        stopped(member.projector.progress()) == BTreeSet::from([milano])
    })
    .await;
    let known = whole_log(&site.store).await;
    let tokens = copy(&site.store, &place(&mut world)).await;
    site.publish(&not_in(whole_log(&site.store).await, &known)).await;
    member.reached(&tokens).await;
    assert_eq!(stopped(member.projector.progress()), BTreeSet::from([milano]));
    member.stop().await;
}
