//! From the real log to the read models, over shards' tails.

use domain::order::OrderStatus;
use service::settings::ProjectorSettings;

use crate::support::platform::Platform;
use crate::support::real::{copy, reached, running, whole_log};
use crate::support::{PATIENCE, expected, read_store, rows, samples};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_on_two_shards_then_read_models_follow_it_through_restarts() {
    let (store, pool) = (Platform::of(2).await.store, read_store().await);
    let mut world = samples::busy_week();
    let before = world.events();
    let tokens = copy(&store, &before[..before.len() / 2]).await;
    // Found when it starts.
    let (first, stop) = running(&store, &pool, ProjectorSettings::default());
    reached(&pool, &first, tokens.last().expect("events")).await;
    // Appended while it runs.
    let tokens = copy(&store, &before[before.len() / 2..]).await;
    for token in &tokens {
        reached(&pool, &first, token).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());

    // Appended while nobody runs, and to a slot of its own.
    let late = world.place(&samples::tenant("torino"), &samples::Sample::default());
    assert!(world.change(&late, OrderStatus::Accepted, None));
    let tokens = copy(&store, &world.events()[before.len()..]).await;
    let (second, stop) = running(&store, &pool, ProjectorSettings::default());
    for token in &tokens {
        reached(&pool, &second, token).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    assert_eq!(rows::all(&pool).await, expected::tables(&whole_log(&store).await));
    assert_eq!(second.health().status, service::health::Status::Ok);
}
