//! Sending queries to another generation, and back; freeing those that nobody reads.

use std::time::{Duration, Instant};

use event_store::{Slot, SlotPosition};
use projector::Error;
use projector::rebuild::{self, drop, rollback, switch};
use service::settings::ProjectorSettings;

use super::support::{NOBODY, Site, options, unswitched};
use crate::support::real::{copy, reached, running, whole_log};
use crate::support::{ALL, PATIENCE, expected, rows, samples};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_generation_that_is_behind_in_one_slot_then_no_query_is_sent_to_it() {
    let mut site = Site::new().await;
    let tokens = site.append().await;
    let (_, stop) = running(&site.store, &site.pool, ProjectorSettings::default());
    site.rebuild(&unswitched()).await.expect("rebuilt");
    site.reached(1, &tokens).await;
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    let slot = i32::from(Slot::of(&samples::tenant("roma")).0);
    let step_back = |by: i64| {
        sqlx::query(
            "UPDATE meta.checkpoints SET slot_position = slot_position - $1
              WHERE read_model = 'orders' AND generation = 2 AND slot = $2",
        )
        .bind(by)
        .bind(slot)
        .execute(&site.pool)
    };
    step_back(2).await.expect("stepped back");

    let refused = switch(&site.pool, "orders", None).await.expect_err("refused");

    assert!(
        matches!(
            refused,
            Error::Behind {
                generation: 2,
                slots: 1,
                events: 2,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(site.served("orders").await, 1);
    step_back(-2).await.expect("put back");
    assert_eq!(switch(&site.pool, "orders", None).await.expect("switched").to, 2);
    assert_eq!(site.served("orders").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_switch_then_rolling_back_needs_no_catching_up_and_what_is_dropped_is_gone() {
    let mut site = Site::new().await;
    site.append().await;
    let (projector, stop) = running(&site.store, &site.pool, ProjectorSettings::default());
    site.rebuild(&options()).await.expect("rebuilt");
    site.more_orders(10);
    let tokens = site.append().await;
    site.reached(1, &tokens).await;
    site.reached(2, &tokens).await;

    let back = rollback(&site.pool, "orders").await.expect("rolled back");

    assert_eq!((back.from, back.to), (Some(2), 1));
    assert_eq!(site.served("orders").await, 1);
    let refused = drop(&site.pool, "orders", 1, Duration::ZERO).await.expect_err("served");
    assert!(matches!(refused, Error::Served { generation: 1, .. }), "{refused}");
    drop(&site.pool, "orders", 2, Duration::ZERO).await.expect("dropped");
    let refused = rollback(&site.pool, "orders").await.expect_err("nothing is left");
    assert!(matches!(refused, Error::NothingToRollBackTo(_)), "{refused}");
    let of_it = "meta.checkpoints WHERE read_model = 'orders' AND generation = 2";
    assert_eq!(rows::count(&site.pool, of_it).await, 0);
    assert_eq!(
        rows::count(&site.pool, "pg_namespace WHERE nspname = 'orders_g2'").await,
        0
    );
    // The projectors that fed it go on with the others.
    site.more_orders(10);
    for token in &site.append().await {
        reached(&site.pool, &projector, token).await;
    }
    assert_eq!(
        rows::all(&site.pool).await,
        expected::tables(&whole_log(&site.store).await)
    );
    // Its number is not given again.
    let orders = rebuild::named(&["orders".to_owned()]).expect("known");
    let again = rebuild::rebuild(&site.store, &site.pool, &orders, &options(), NOBODY)
        .await
        .expect("rebuilt");
    assert_eq!(again[0].generation, 3);
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_what_there_is_not_then_the_refusal_says_so() {
    let mut site = Site::new().await;
    site.append().await;
    let nothing = switch(&site.pool, "orders", None).await.expect_err("refused");
    assert!(matches!(nothing, Error::NothingToSwitchTo(_)), "{nothing}");
    let unknown = switch(&site.pool, "orders", Some(9)).await.expect_err("refused");
    assert!(
        matches!(unknown, Error::NoGeneration { generation: 9, .. }),
        "{unknown}"
    );
    let unknown = drop(&site.pool, "orders", 9, Duration::ZERO)
        .await
        .expect_err("refused");
    assert!(matches!(unknown, Error::NoGeneration { .. }), "{unknown}");
    let unknown = rebuild::named(&["menus".to_owned()]).expect_err("refused");
    assert!(unknown.to_string().contains("daily_sales"), "{unknown}");
    assert_eq!(rebuild::named(&[]).expect("all").len(), ALL.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_that_was_restored_from_an_older_copy_then_a_rebuild_puts_read_models_right() {
    let mut site = Site::new().await;
    let tokens = site.append().await;
    let (projector, stop) = running(&site.store, &site.pool, quick());
    for token in &tokens {
        reached(&site.pool, &projector, token).await;
    }
    let slot = Slot::of(&samples::tenant("roma"));
    let last = tokens
        .iter()
        .filter(|token| token.slot == slot)
        .max_by_key(|token| token.slot_position);
    let kept = SlotPosition(last.expect("events").slot_position.0 - 3);
    site.platform.lose_beyond(slot, kept).await;
    site.platform.restored(site.store.shard_of(slot).expect("owned")).await;

    let rebuilt = site.rebuild(&options()).await.expect("rebuilt");

    for it in &rebuilt {
        let checked = &it.checked;
        assert_eq!(checked.differing_rows, 0, "{it:?}");
        let switched = it.switched.as_ref().expect("switched");
        assert!(!switched.can_roll_back, "what was served holds what the log has lost");
    }
    let refused = rollback(&site.pool, "orders").await.expect_err("refused");
    assert!(matches!(refused, Error::NothingToRollBackTo(_)), "{refused}");
    // The slot is fed again.
    let mut other = samples::World::new();
    other.place(
        &samples::tenant("roma"),
        &samples::Sample {
            placed_at: "2026-03-09T12:00:00Z",
            ..Default::default()
        },
    );
    let events = other.events();
    for token in &copy(&site.store, &renamed(&events)).await {
        site.reached(2, std::slice::from_ref(token)).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    assert_eq!(
        rows::of_generation(&site.pool, 2).await,
        expected::tables(&whole_log(&site.store).await)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_other_events_where_the_log_lost_some_when_rebuilt_then_what_is_served_proves_nothing_there() {
    let mut site = Site::new().await;
    let tokens = site.append().await;
    let (projector, stop) = running(&site.store, &site.pool, quick());
    for token in &tokens {
        reached(&site.pool, &projector, token).await;
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
    let mut other = samples::World::new();
    other.place(&samples::tenant("roma"), &samples::Sample::default());
    let events = renamed(&other.events());
    let slot = Slot::of(&samples::tenant("roma"));
    let last = tokens.iter().filter(|token| token.slot == slot);
    let last = last.max_by_key(|token| token.slot_position).expect("events");
    let kept = SlotPosition(last.slot_position.0 - events.len() as i64);
    site.platform.lose_beyond(slot, kept).await;
    site.platform.restored(site.store.shard_of(slot).expect("owned")).await;
    let token = copy(&site.store, &events).await.pop().expect("events");
    assert_eq!(token.slot_position, last.slot_position);
    assert!(token.incarnation > last.incarnation, "{token} after {last}");

    let rebuilt = site.rebuild(&options()).await.expect("rebuilt");

    for it in &rebuilt {
        assert!(it.checked.is_right(), "{it:?}");
        assert_eq!(it.switched.as_ref().expect("switched").to, 2);
    }
    assert_eq!(
        rows::of_generation(&site.pool, 2).await,
        expected::tables(&whole_log(&site.store).await)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_generation_that_was_never_served_when_dropped_then_those_who_named_it_are_waited_for() {
    let mut site = Site::new().await;
    site.append().await;
    site.rebuild(&unswitched()).await.expect("rebuilt");
    let (readers, began) = (Duration::from_millis(700), Instant::now());

    drop(&site.pool, "orders", 2, readers).await.expect("dropped");

    assert!(began.elapsed() >= readers, "{:?}", began.elapsed());
    assert_eq!(
        rows::count(&site.pool, "pg_namespace WHERE nspname = 'orders_g2'").await,
        0
    );
}

/// Looks at heads often.
fn quick() -> ProjectorSettings {
    ProjectorSettings {
        reconcile_interval_ms: 100,
        ..ProjectorSettings::default()
    }
}

/// The same events with ids of their own, and of an order of their own.
fn renamed(events: &[event_store::RecordedEvent]) -> Vec<event_store::RecordedEvent> {
    let id = domain::OrderId("7f3c1c52-0000-4000-8000-000000000001".parse().expect("an id"));
    let mut events = events.to_vec();
    for (nth, event) in events.iter_mut().enumerate() {
        event.stream = domain::StreamId::order(event.stream.tenant(), id);
        event.event_id = domain::EventId(
            format!("7f3c1c52-0000-4000-8000-0000000001{nth:02}")
                .parse()
                .expect("an id"),
        );
    }
    events
}
