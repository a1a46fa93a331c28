//! Filling a generation: from shards that are written to, interrupted, and by one at a time.

use projector::rebuild::{self, Rebuilt};
use projector::{Error, Registered, registry};
use service::settings::ProjectorSettings;

use super::support::{NOBODY, Site, options, unswitched};
use crate::support::real::{reached, running, whole_log};
use crate::support::{ALL, PATIENCE, eventually, expected, rows};

fn assert_right(rebuilt: &[Rebuilt]) {
    assert_eq!(rebuilt.len(), ALL.len());
    for it in rebuilt {
        assert!(it.checked.is_right(), "{it:?}");
        assert!(it.checked.rows > 0, "{it:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_orders_coming_in_when_rebuilt_then_both_generations_hold_the_same_byte_for_byte() {
    let mut site = Site::new().await;
    site.append().await;
    let (projector, stop) = running(&site.store, &site.pool, ProjectorSettings::default());
    site.more_orders(150);
    let (store, pool) = (site.store.clone(), site.pool.clone());
    let rebuilding =
        tokio::spawn(async move { rebuild::rebuild(&store, &pool, &registry::all(), &options(), NOBODY).await });
    let tokens = site.append().await;
    let rebuilt = rebuilding.await.expect("no panic").expect("rebuilt");
    assert_right(&rebuilt);
    assert!(rebuilt.iter().all(|it| it.checked.compared_tenants > 0), "{rebuilt:?}");
    for it in &rebuilt {
        let switched = it.switched.as_ref().expect("switched");
        assert_eq!((switched.from, switched.to, switched.can_roll_back), (Some(1), 2, true));
        assert_eq!(site.served(it.read_model).await, 2);
    }
    for token in &tokens {
        reached(&site.pool, &projector, token).await;
    }
    site.reached(1, &tokens).await;
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    assert_eq!(rows::hash_of(&site.pool, 1).await, rows::hash_of(&site.pool, 2).await);
    assert_eq!(
        rows::of_generation(&site.pool, 2).await,
        expected::tables(&whole_log(&site.store).await)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_no_projector_at_all_when_rebuilt_then_the_rebuild_feeds_the_generation_itself() {
    let mut site = Site::new().await;
    site.append().await;
    assert_right(&site.rebuild(&options()).await.expect("rebuilt"));
    assert_eq!(
        rows::of_generation(&site.pool, 2).await,
        expected::tables(&whole_log(&site.store).await)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_rebuild_killed_three_times_then_it_goes_on_where_it_was_and_the_rows_are_right() {
    let mut site = Site::new().await;
    site.more_orders(400);
    site.append().await;
    let slow = rebuild::Options {
        workers: 1,
        chunk: 1,
        ..options()
    };
    let mut filled = 0;
    for _ in 0..3 {
        let (store, pool, slow) = (site.store.clone(), site.pool.clone(), slow.clone());
        let rebuilding =
            tokio::spawn(async move { rebuild::rebuild(&store, &pool, &registry::all(), &slow, NOBODY).await });
        eventually("it has filled more", || async { site.filled(2).await > filled }).await;
        rebuilding.abort();
        assert!(rebuilding.await.expect_err("ended").is_cancelled());
        let now = site.filled(2).await;
        assert!(now > filled && now < site.world.events().len() as i64, "{now}");
        filled = now;
    }
    let rebuilt = site.rebuild(&options()).await.expect("gone on with");
    assert_right(&rebuilt);
    assert!(rebuilt.iter().all(|it| it.generation == 2), "{rebuilt:?}");
    assert_eq!(
        rows::of_generation(&site.pool, 2).await,
        expected::tables(&whole_log(&site.store).await)
    );
}

/// A rebuild that had begun to fill generation 2 when it ended.
async fn interrupt_one(site: &Site) {
    let (store, pool) = (site.store.clone(), site.pool.clone());
    let slow = rebuild::Options {
        workers: 1,
        chunk: 1,
        ..options()
    };
    let rebuilding =
        tokio::spawn(async move { rebuild::rebuild(&store, &pool, &registry::all(), &slow, NOBODY).await });
    eventually("it has begun", || async { site.filled(2).await > 0 }).await;
    rebuilding.abort();
    assert!(rebuilding.await.expect_err("ended").is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_an_interrupted_rebuild_when_begun_from_scratch_then_what_it_had_filled_is_dropped() {
    let mut site = Site::new().await;
    site.more_orders(200);
    site.append().await;
    interrupt_one(&site).await;
    let rebuilt = site
        .rebuild(&rebuild::Options {
            from_scratch: true,
            ..options()
        })
        .await
        .expect("rebuilt");
    assert_right(&rebuilt);
    assert!(rebuilt.iter().all(|it| it.generation == 3), "{rebuilt:?}");
    assert_eq!(site.generation_count().await, 10, "those of the first attempt are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_rebuild_under_way_then_a_second_one_is_refused() {
    let mut site = Site::new().await;
    site.more_orders(400);
    site.append().await;
    let (store, pool) = (site.store.clone(), site.pool.clone());
    let slow = rebuild::Options {
        workers: 1,
        chunk: 1,
        ..options()
    };
    let first = tokio::spawn(async move { rebuild::rebuild(&store, &pool, &registry::all(), &slow, NOBODY).await });
    eventually("it has begun", || async { site.filled(2).await > 0 }).await;
    let refused = site.rebuild(&options()).await.expect_err("refused");
    assert!(matches!(refused, Error::RebuildRunning { .. }), "{refused}");
    assert!(refused.to_string().contains("a test"), "{refused}");
    assert_right(&first.await.expect("no panic").expect("not disturbed"));
    assert_eq!(site.generation_count().await, 10, "the second made none");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_leases_that_run_out_one_after_another_and_nobody_renews_then_the_rebuild_is_gone_on_with() {
    let mut site = Site::new().await;
    site.more_orders(200);
    site.append().await;
    interrupt_one(&site).await;
    // As when it was killed at its beginning, on a busy machine.
    sqlx::query(
        "UPDATE meta.rebuilds
            SET updated_at = clock_timestamp() + nth * interval '1 millisecond',
                lease_until = clock_timestamp() + nth * interval '500 milliseconds'
           FROM unnest($1::text[]) WITH ORDINALITY AS model (name, nth) WHERE read_model = name",
    )
    .bind(registry::all().iter().map(Registered::name).collect::<Vec<_>>())
    .execute(&site.pool)
    .await
    .expect("spread");
    let rebuilt = site.rebuild(&options()).await.expect("gone on with");
    assert_right(&rebuilt);
    assert!(rebuilt.iter().all(|it| it.generation == 2), "{rebuilt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_rows_changed_behind_the_log_then_the_rebuild_says_so_and_leaves_the_switch_to_people() {
    let mut site = Site::new().await;
    let tokens = site.append().await;
    let (projector, stop) = running(&site.store, &site.pool, ProjectorSettings::default());
    for token in &tokens {
        reached(&site.pool, &projector, token).await;
    }
    sqlx::query("UPDATE orders_g1.orders SET total = total + 1 WHERE tenant_id = 'roma' AND number = 1")
        .execute(&site.pool)
        .await
        .expect("changed");
    let rebuilt = site.rebuild(&options()).await.expect("rebuilt");
    let orders = rebuilt.iter().find(|it| it.read_model == "orders").expect("rebuilt");
    assert_eq!(orders.checked.differing_rows, 0, "the new one is what the log says");
    let differing: Vec<&str> = orders.checked.differing.iter().map(|it| it.tenant.as_str()).collect();
    assert_eq!(differing, ["roma"]);
    assert!(orders.switched.is_none());
    assert_eq!(site.served("orders").await, 1);
    assert_eq!(site.served("products").await, 2);
    let switched = rebuild::switch(&site.pool, "orders", Some(2)).await.expect("switched");
    assert_eq!(switched.to, 2);
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_rebuild_that_waits_for_an_operator_then_nothing_is_switched() {
    let mut site = Site::new().await;
    site.append().await;
    let rebuilt = site.rebuild(&unswitched()).await.expect("rebuilt");
    assert_right(&rebuilt);
    assert!(rebuilt.iter().all(|it| it.switched.is_none()));
    let list = rebuild::list(&site.store, &site.pool, None).await.expect("listed");
    let orders: Vec<_> = list.iter().filter(|it| it.read_model == "orders").collect();
    assert_eq!(orders.len(), 2);
    assert!(orders[0].served && !orders[1].served);
    assert_eq!(orders[1].lag_events, 0);
    assert!(orders[0].lag_events > 0 && orders[0].lag_ms > 0.0, "no projector runs");
    let rebuild = orders[1].rebuild.as_ref().expect("a rebuild");
    assert_eq!((rebuild.state.as_str(), rebuild.held), ("ready", false));
    assert_eq!(rebuild.events_done, rebuild.events_total);
    assert!(rebuild.verified_at.is_some());
    assert_eq!(
        orders[1].ranges.iter().map(|it| it.events).sum::<i64>(),
        orders[1].events
    );
}
