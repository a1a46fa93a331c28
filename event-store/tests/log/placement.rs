//! Shards that are learnt while the store runs, and a control database that is away.

use std::time::Duration;

use domain::TenantId;
use event_store::{ControlOptions, Error, EventStore, Options, ShardId, ShardOptions, Slot, UrlKept, register_shard};
use migrations::Database;

use crate::support::{Platform, append, connect, eventually, fresh_order, migrated, run, tenant, within};

fn learning(platform: &Platform, control: &str) -> Options {
    Options {
        control: Some(ControlOptions {
            url: control.to_owned(),
        }),
        placement_poll: Duration::from_millis(20),
        ..platform.options()
    }
}

async fn give_slot(platform: &Platform, tenant: &TenantId, to: &str, id: i16) {
    let slot = Slot::of(tenant);
    run(
        &mut platform.shard(0).await,
        &format!("UPDATE slots SET owned = false WHERE slot = {slot}"),
    )
    .await;
    run(
        &mut connect(to).await,
        &format!("INSERT INTO slots (slot, ownership) VALUES ({slot}, 2)"),
    )
    .await;
    run(
        &mut connect(&platform.control).await,
        &format!("UPDATE placement SET shard_id = {id} WHERE slot = {slot}"),
    )
    .await;
}

#[tokio::test]
async fn given_a_shard_registered_while_the_store_runs_then_it_is_opened_and_its_slots_are_routed_to() {
    let platform = Platform::fresh(1).await;
    let store = EventStore::connect(learning(&platform, &platform.control))
        .await
        .expect("connect");
    let mut shards = store.shards_changed();
    let added = ShardOptions {
        id: ShardId(7),
        url: migrated(Database::EventStore).await,
    };
    register_shard(&mut connect(&platform.control).await, &added, UrlKept::InControl)
        .await
        .expect("registered");
    within("being told", shards.wait_for(|ids| ids.contains(&ShardId(7))))
        .await
        .expect("told");

    let options = store.shard_options(ShardId(7)).expect("open");
    assert_eq!(options.url, added.url);
    let unknown = store.shard_options(ShardId(8));
    assert!(matches!(unknown, Err(Error::UnknownShard(ShardId(8)))));

    let acme = tenant("acme");
    give_slot(&platform, &acme, &added.url, 7).await;
    eventually("the slot is routed to its new shard", || async {
        store.shard_of(Slot::of(&acme)).ok() == Some(ShardId(7))
    })
    .await;
    let stored = store.append(append(&fresh_order(&acme), 0)).await.expect("stored");
    assert_eq!(stored.shard, ShardId(7));
}

#[tokio::test]
async fn given_settings_that_name_a_shard_which_is_none_yet_then_the_store_starts_and_opens_it_once_registered() {
    let mut platform = Platform::fresh(1).await;
    platform.shards.push(ShardOptions {
        id: ShardId(1),
        url: migrated(Database::EventStore).await,
    });
    let refused = EventStore::connect(platform.options()).await;
    assert!(matches!(refused, Err(Error::Misconfigured(_))), "{refused:?}");
    let store = EventStore::connect(learning(&platform, &platform.control))
        .await
        .expect("connect");
    assert_eq!(store.shards(), [ShardId(0)]);
    let control = &mut connect(&platform.control).await;
    register_shard(control, &platform.shards[1], UrlKept::InSettings)
        .await
        .expect("registered");
    eventually("the shard is open", || async {
        store.shards() == [ShardId(0), ShardId(1)]
    })
    .await;
}

#[tokio::test]
async fn given_a_control_database_that_is_away_then_the_store_starts_and_appends() {
    let platform = Platform::fresh(2).await;
    let store = EventStore::connect(learning(&platform, "postgres://127.0.0.1:1/away"))
        .await
        .expect("connect");
    for name in ["acme", "dev", "a"] {
        store
            .append(append(&fresh_order(&tenant(name)), 0))
            .await
            .expect("stored");
    }
}
