//! Read models as of a position that has passed.

use event_store::{Cursor, Slot};
use projector::rebuild::{Options, build, cursor_at, list, switch};
use projector::{Error, registry};
use service::settings::ProjectorSettings;

use super::support::{NOBODY, Site, options};
use crate::support::platform::connect;
use crate::support::real::{running, whole_log};
use crate::support::{PATIENCE, eventually, expected, rows, samples};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_position_that_has_passed_when_built_then_the_rows_are_a_fold_of_what_was_before() {
    let mut site = Site::new().await;
    site.append().await;
    let (then, log_then) = (
        site.store.cursor_at_heads().await.expect("heads"),
        whole_log(&site.store).await,
    );
    let (_, stop) = running(&site.store, &site.pool, ProjectorSettings::default());
    site.more_orders(30);
    let tokens = site.append().await;

    let built = build(&site.store, &site.pool, &registry::all(), &then, &options(), NOBODY)
        .await
        .expect("built");

    assert!(built.iter().all(|(_, number)| *number == 2), "{built:?}");
    site.reached(1, &tokens).await;
    let of_then = expected::tables(&log_then);
    assert_eq!(rows::of_generation(&site.pool, 2).await, of_then);
    // Nobody feeds it, and nobody is sent to it.
    site.more_orders(5);
    let tokens = site.append().await;
    site.reached(1, &tokens).await;
    assert_eq!(rows::of_generation(&site.pool, 2).await, of_then);
    let listed = list(&site.store, &site.pool, None).await.expect("listed");
    let orders = listed.iter().find(|it| it.read_model == "orders" && it.generation == 2);
    let orders = orders.expect("listed");
    assert_eq!((orders.state.as_str(), orders.served), ("scratch", false));
    assert_eq!(orders.events, log_then.len() as i64);
    let refused = switch(&site.pool, "orders", Some(2)).await.expect_err("refused");
    assert!(matches!(refused, Error::NotSwitchable { .. }), "{refused}");
    assert_eq!(site.served("orders").await, 1);
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_time_then_it_means_each_slots_last_event_by_then() {
    let mut site = Site::new().await;
    site.append().await;
    let log = whole_log(&site.store).await;
    let mut times: Vec<_> = log.iter().map(|event| event.recorded_at).collect();
    times.sort();
    for nth in [0, times.len() / 3, times.len() / 2, times.len() - 1] {
        let cursor = cursor_at(&site.store, times[nth]).await.expect("found");
        for event in &log {
            assert_eq!(
                event.slot_position <= cursor.position(event.slot),
                event.recorded_at <= times[nth],
                "{event:?}"
            );
        }
    }
    let before = times[0].plus_seconds(-1);
    assert_eq!(cursor_at(&site.store, before).await.expect("found"), Cursor::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_position_that_the_log_has_not_then_it_is_refused_and_nothing_is_made() {
    let mut site = Site::new().await;
    let tokens = site.append().await;
    let last = tokens.last().expect("events");
    let beyond: Cursor = format!("{}.{}.{}", last.slot, last.incarnation, last.slot_position.0 + 1)
        .parse()
        .expect("a cursor");
    let refused = build(&site.store, &site.pool, &registry::all(), &beyond, &options(), NOBODY)
        .await
        .expect_err("refused");
    assert!(matches!(refused, Error::NotInLog(_)), "{refused}");
    assert_eq!(site.generation_count().await, 5);
}

/// Shuts a slot, as a move does between two owners, or opens it again.
async fn set_owned(site: &Site, slot: Slot, owned: bool) {
    for shard in &site.platform.shards {
        // The shard that has the slot's events; the others have no row of it, or an empty one.
        sqlx::query("UPDATE slots SET owned = $2 WHERE slot = $1 AND slot_position > 0")
            .bind(i16::try_from(slot.0).expect("small"))
            .bind(owned)
            .execute(&mut connect(&shard.url).await)
            .await
            .expect("set");
    }
    if owned {
        eventually("the slot is routed again", || async {
            site.store.shard_of(slot).is_ok()
        })
        .await;
    }
}

fn is_not_owned(error: &Error, expected: Slot) -> bool {
    matches!(error, Error::Log(event_store::Error::NotOwned { slot }) if *slot == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_slot_that_nobody_owns_just_now_then_no_time_leaves_it_out() {
    let mut site = Site::new().await;
    site.append().await;
    let log = whole_log(&site.store).await;
    let last = log.iter().map(|event| event.recorded_at).max().expect("events");
    let slot = Slot::of(&samples::tenant("roma"));
    set_owned(&site, slot, false).await;
    let refused = cursor_at(&site.store, last).await.expect_err("refused");
    assert!(is_not_owned(&refused, slot), "{refused:?}");
    set_owned(&site, slot, true).await;
    let cursor = cursor_at(&site.store, last).await.expect("found");
    assert!(
        log.iter()
            .all(|event| event.slot_position <= cursor.position(event.slot))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_slot_that_is_shut_while_it_is_built_then_the_generation_is_not_taken_for_complete() {
    let mut site = Site::new().await;
    site.more_orders(400);
    site.append().await;
    let (then, log) = (
        site.store.cursor_at_heads().await.expect("heads"),
        whole_log(&site.store).await,
    );
    let slow = Options {
        workers: 1,
        chunk: 1,
        ..options()
    };
    let (store, pool, upto) = (site.store.clone(), site.pool.clone(), then.clone());
    let building = tokio::spawn(async move { build(&store, &pool, &registry::all(), &upto, &slow, NOBODY).await });
    eventually("it has begun", || async { site.filled(2).await > 0 }).await;
    let slot = Slot::of(&samples::tenant("roma"));
    set_owned(&site, slot, false).await;

    // After a few attempts, with pauses between.
    let refused = building.await.expect("no panic").expect_err("refused");

    assert!(is_not_owned(&refused, slot), "{refused:?}");
    set_owned(&site, slot, true).await;
    let built = build(&site.store, &site.pool, &registry::all(), &then, &options(), NOBODY)
        .await
        .expect("gone on with");
    assert!(built.iter().all(|(_, number)| *number == 2), "{built:?}");
    assert_eq!(rows::of_generation(&site.pool, 2).await, expected::tables(&log));
}
