//! Shards that are added while projectors run.

use event_store::ShardId;
use service::settings::ProjectorSettings;

use crate::support::platform::Platform;
use crate::support::real::{copy, reached, running, whole_log};
use crate::support::site::{PATIENCE, Site};
use crate::support::{expected, read_store, rows, samples};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_shard_added_while_tails_are_followed_then_its_events_are_applied() {
    let (mut platform, pool) = (Platform::of(2).await, read_store().await);
    let store = platform.store.clone();
    let (projector, stop) = running(&store, &pool, ProjectorSettings::default());
    let mut world = samples::busy_week();
    copy(&store, &world.events()).await;
    platform.add_shard_for(7, "torino").await;
    let known = world.events().len();
    world.place(&samples::tenant("torino"), &samples::Sample::default());
    world.place(&samples::tenant("roma"), &samples::Sample::default());
    world.place(&samples::tenant("torino"), &samples::Sample::default());
    for token in copy(&store, &world.events()[known..]).await {
        reached(&pool, &projector, &token).await;
    }
    assert!(projector.progress().shards().contains_key(&ShardId(7)));
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    assert_eq!(rows::all(&pool).await, expected::tables(&whole_log(&store).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_shard_added_while_the_topic_is_followed_then_it_is_published_applied_and_its_losses_are_found() {
    let mut site = Site::shared("added").await;
    let (relay, member) = (site.relay(), site.start());
    let mut world = samples::busy_week();
    let tokens = copy(&site.store, &world.events()).await;
    member.reached(&tokens).await;
    site.platform.add_shard_for(7, "torino").await;
    let known = world.events().len();
    world.place(&samples::tenant("torino"), &samples::Sample::default());
    let tokens = copy(&site.store, &world.events()[known..]).await;
    member.reached(&tokens).await;
    relay.trigger();
    assert!(relay.wait(PATIENCE).await.is_clean());
    // The last record is lost, and the shard says that it was published.
    let known = world.events().len();
    world.place(&samples::tenant("torino"), &samples::Sample::default());
    let tokens = copy(&site.store, &world.events()[known..]).await;
    site.claim_published().await;
    member.reached(&tokens).await;
    member.stop().await;
    site.assert_rows().await;
}
