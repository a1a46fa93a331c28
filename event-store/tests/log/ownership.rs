//! A slot that moved: the shard says no, and the store finds the new owner.

use domain::product::Product;
use domain::{StreamId, TenantId};
use event_store::{Error, ShardId, Slot, SlotPosition};

use crate::aggregates::{define, metadata};
use crate::support::{Platform, append, fresh_order, run, tenant};

/// Moves a slot with its events from shard 0 to shard 1, as a finished move leaves it.
async fn moved(platform: &Platform, tenant: &TenantId) {
    let slot = Slot::of(tenant);
    let (mut from, mut to) = (platform.shard(0).await, platform.shard(1).await);
    let events: Vec<String> = sqlx::query_scalar("SELECT row_to_json(e)::text FROM events e WHERE slot = $1")
        .bind(i16::try_from(slot.0).expect("a slot"))
        .fetch_all(&mut from)
        .await
        .expect("events");
    for event in &events {
        let copy = "INSERT INTO events SELECT (json_populate_record(NULL::events, \
                    (($1::jsonb || jsonb_build_object('copied', true, 'position', \
                    (SELECT coalesce(max(position), 0) + 1 FROM events)))::json))).*";
        sqlx::query(copy).bind(event).execute(&mut to).await.expect("copy");
    }
    run(
        &mut from,
        &format!("UPDATE slots SET owned = false WHERE slot = {slot}"),
    )
    .await;
    let count = events.len();
    run(
        &mut to,
        &format!(
            "INSERT INTO slots (slot, slot_position, ownership) VALUES ({slot}, {count}, 2);
             UPDATE shard SET position = (SELECT coalesce(max(position), 0) FROM events)"
        ),
    )
    .await;
}

/// A tenant whose slot starts on shard 0 of two.
fn on_the_first() -> TenantId {
    (0..)
        .map(|number| tenant(&format!("t{number}")))
        .find(|tenant| Slot::of(tenant).0.is_multiple_of(2))
        .expect("one")
}

#[tokio::test]
async fn given_a_slot_that_moved_when_it_is_appended_to_then_the_new_owner_takes_it() {
    let platform = Platform::fresh(2).await;
    let store = platform.store().await;
    let tenant = on_the_first();
    let stream = fresh_order(&tenant);
    let before = store.append(append(&stream, 0)).await.expect("stored");
    assert_eq!(
        (before.shard, store.shard_of(before.slot).expect("owned")),
        (ShardId(0), ShardId(0))
    );

    moved(&platform, &tenant).await;
    let after = store.append(append(&stream, 1)).await.expect("stored by the new owner");

    assert_eq!(
        (after.shard, store.shard_of(after.slot).expect("owned")),
        (ShardId(1), ShardId(1))
    );
    assert_eq!(after.events[0].slot_position, SlotPosition(2), "the slot counts on");
}

#[tokio::test]
async fn given_a_slot_that_moved_when_it_is_read_then_what_was_left_behind_is_not_shown() {
    let platform = Platform::fresh(2).await;
    let (stale, current) = (platform.store().await, platform.store().await);
    let tenant = on_the_first();
    let stream = StreamId::product(&tenant, &"pizza".parse().expect("an id"));
    let (products, elsewhere) = (stale.aggregates::<Product>(), current.aggregates::<Product>());
    let loaded = products.load(&stream).await.expect("load");
    products
        .commit(vec![define(900)], loaded, metadata())
        .await
        .expect("commit");

    moved(&platform, &tenant).await;
    let loaded = elsewhere.load_fresh(&stream).await.expect("load");
    elsewhere
        .commit(vec![define(950)], loaded, metadata())
        .await
        .expect("commit at the new owner");

    let loaded = products.load_fresh(&stream).await.expect("load");
    assert_eq!(loaded.version.0, 2, "both events, from the new owner");
    assert_eq!(
        stale
            .read_slot(Slot::of(&tenant), SlotPosition(0), 10)
            .await
            .expect("read")
            .len(),
        2
    );
    assert_eq!(
        stale.head_of(&tenant).await.expect("head").slot_position,
        SlotPosition(2)
    );
}

#[tokio::test]
async fn given_a_slot_that_nobody_owns_then_appends_and_reads_say_so() {
    let platform = Platform::fresh(2).await;
    let store = platform.store().await;
    let tenant = on_the_first();
    run(
        &mut platform.shard(0).await,
        &format!("UPDATE slots SET owned = false WHERE slot = {}", Slot::of(&tenant)),
    )
    .await;
    assert!(matches!(
        store.append(append(&fresh_order(&tenant), 0)).await,
        Err(Error::NotOwned { .. })
    ));
    assert!(matches!(
        store.read_slot(Slot::of(&tenant), SlotPosition(0), 10).await,
        Err(Error::NotOwned { .. })
    ));
    assert!(matches!(store.head_of(&tenant).await, Err(Error::NotOwned { .. })));
}
