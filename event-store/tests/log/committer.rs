//! Batches: who shares one, who fails with whom, and what happens when there is no room or no time.

use std::time::Duration;

use domain::Sequence;
use event_store::{Append, Committed, Error, EventStore, Options};
use futures::future::join_all;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use crate::support::{HeadLock, Platform, append, create, fresh_order, number, queued, run, tenant, within};

fn spawn(store: &EventStore, append: Append) -> JoinHandle<Result<Committed, Error>> {
    let store = store.clone();
    tokio::spawn(async move { store.append(append).await })
}

/// Hands over `appends` while the committer is held up, so that they are sent together; then lets
/// them go. (The first, which the committer waits with, is not of them.)
async fn together(platform: &Platform, store: &EventStore, appends: Vec<Append>) -> Vec<Result<Committed, Error>> {
    let mut lock = HeadLock::take(platform, 0).await;
    let held_up = spawn(store, append(&fresh_order(&tenant("held-up")), 0));
    lock.someone_waits().await;
    let mut pending = Vec::new();
    for (count, append) in (2..).zip(appends) {
        pending.push(spawn(store, append));
        queued(store, count).await;
    }
    lock.release().await;
    held_up.await.expect("join").expect("the first append");
    within("the batch", join_all(pending))
        .await
        .into_iter()
        .map(|joined| joined.expect("join"))
        .collect()
}

#[tokio::test]
async fn given_many_appends_at_once_then_they_share_a_commit() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let appends = (0..20).map(|_| append(&fresh_order(&tenant("acme")), 0)).collect();
    let results = together(&platform, &store, appends).await;
    assert!(results.iter().all(Result::is_ok));
    let mut shard = platform.shard(0).await;
    let transactions = "SELECT count(DISTINCT xmin::text) FROM events";
    assert_eq!(
        number(&mut shard, transactions).await,
        2,
        "one for the first, one for the twenty"
    );
}

#[tokio::test]
async fn given_appends_to_one_stream_then_they_are_sent_one_per_batch_in_order() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let stream = fresh_order(&tenant("acme"));
    let other = fresh_order(&tenant("acme"));
    let mut appends: Vec<Append> = (0..6).map(|expected| append(&stream, expected)).collect();
    appends.push(append(&other, 0));
    let results = together(&platform, &store, appends).await;

    let sequences: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().expect("stored").events[0].sequence)
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 1].map(Sequence));
    let other = results[6].as_ref().expect("stored").events[0].position;
    let second = results[1].as_ref().expect("stored").events[0].position;
    assert!(
        other < second,
        "an append to another stream does not wait behind the deferred ones"
    );
}

#[tokio::test]
async fn given_data_that_postgresql_refuses_then_only_its_append_is_rejected() {
    let platform = Platform::fresh(1).await;
    run(
        &mut platform.shard(0).await,
        "ALTER TABLE events ADD CONSTRAINT planted CHECK (event_type <> 'Poison')",
    )
    .await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let mut appends: Vec<Append> = (0..9).map(|_| create(&fresh_order(&acme))).collect();
    // Class 22: text cannot hold NUL. Class 23: a constraint.
    appends[3].events[0].event_type = "Order\0Created".to_owned();
    appends[6].events[0].event_type = "Poison".to_owned();

    let results = together(&platform, &store, appends).await;

    for (index, result) in results.iter().enumerate() {
        match (index, result) {
            (3, Err(Error::Rejected { reason, .. })) => assert!(reason.contains("22021"), "{reason}"),
            (6, Err(Error::Rejected { reason, .. })) => assert!(reason.contains("23514"), "{reason}"),
            (3 | 6, other) => panic!("append {index} should be rejected: {other:?}"),
            (_, result) => assert!(result.is_ok(), "append {index}: {result:?}"),
        }
    }
    let mut numbers: Vec<i64> = results
        .iter()
        .flatten()
        .filter_map(|stored| stored.number)
        .map(|n| n.0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=7).collect::<Vec<_>>(), "the rejected drew none");
    assert_eq!(store.audit_tenant(&acme).await.expect("audit"), []);
}

#[tokio::test]
async fn given_a_nul_inside_json_or_no_events_then_it_is_rejected_before_it_is_sent() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let stream = fresh_order(&tenant("acme"));
    let mut in_payload = append(&stream, 0);
    in_payload.events[0].payload = RawValue::from_string(r#"{"note":"a\u0000b"}"#.to_owned()).expect("json");
    let mut in_metadata = append(&stream, 0);
    in_metadata.events[0]
        .metadata
        .insert("actor".to_owned(), "a\0b".to_owned());
    let nothing = Append {
        events: Vec::new(),
        ..append(&stream, 0)
    };
    for bad in [in_payload, in_metadata, nothing] {
        assert!(matches!(store.append(bad).await, Err(Error::Rejected { .. })));
    }
    assert!(
        store.append(append(&stream, 0)).await.is_ok(),
        "nothing was stored before"
    );
}

#[tokio::test]
async fn given_a_conflict_then_it_says_so_and_its_neighbours_are_stored() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let (taken, free) = (fresh_order(&tenant("acme")), fresh_order(&tenant("acme")));
    store.append(append(&taken, 0)).await.expect("stored");
    let results = together(&platform, &store, vec![append(&taken, 0), append(&free, 0)]).await;
    assert!(matches!(&results[0], Err(Error::Conflict { stream, .. }) if *stream == taken));
    assert!(results[1].is_ok());
}

#[tokio::test]
async fn given_many_writers_that_want_the_same_place_then_one_gets_it_and_the_rest_wait_for_one_commit() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let stream = fresh_order(&tenant("acme"));
    let contenders: Vec<Append> = (0..12).map(|_| append(&stream, 0)).collect();
    // One sends its append again without waiting for the answer, and is not its own rival.
    let again = contenders[0].clone();
    let follower = append(&stream, 1);
    let appends = contenders.into_iter().chain([again, follower]).collect();
    let results = together(&platform, &store, appends).await;

    assert!(!results[0].as_ref().expect("the first").already_committed);
    let rivals = &results[1..12];
    assert!(
        rivals
            .iter()
            .all(|result| matches!(result, Err(Error::Conflict { .. }))),
        "{rivals:?}"
    );
    assert!(results[12].as_ref().expect("recognised").already_committed);
    assert_eq!(
        results[13].as_ref().expect("behind the first").events[0].sequence,
        Sequence(2)
    );
}

#[tokio::test]
async fn given_a_full_queue_then_appends_are_refused_at_once_with_a_time_to_retry() {
    let platform = Platform::fresh(1).await;
    let store = EventStore::connect(Options {
        queue_capacity: 3,
        ..platform.options()
    })
    .await
    .expect("connect");
    let acme = tenant("acme");
    let stream = fresh_order(&acme);
    let mut lock = HeadLock::take(&platform, 0).await;
    let first = spawn(&store, append(&stream, 0));
    lock.someone_waits().await;
    // Waiting behind another append to its stream takes room as well.
    let others = [spawn(&store, append(&stream, 1)), spawn(&store, append(&stream, 2))];
    queued(&store, 3).await;

    let refused = store.append(append(&fresh_order(&acme), 0)).await;

    assert!(
        matches!(
            refused,
            Err(Error::Overloaded {
                retry_after_seconds: 1..
            })
        ),
        "{refused:?}"
    );
    lock.release().await;
    assert!(first.await.expect("join").is_ok());
    for other in others {
        assert!(other.await.expect("join").is_ok());
    }
    assert!(
        store.append(append(&fresh_order(&acme), 0)).await.is_ok(),
        "there is room again"
    );
}

#[tokio::test]
async fn given_a_head_lock_that_is_not_released_then_the_append_fails_in_time_and_the_next_succeeds() {
    let platform = Platform::fresh(1).await;
    let options = Options {
        lock_timeout: Duration::from_millis(100),
        ..platform.options()
    };
    let store = EventStore::connect(options).await.expect("connect");
    let stream = fresh_order(&tenant("acme"));
    let lock = HeadLock::take(&platform, 0).await;
    let refused = within("the lock's time-out", store.append(append(&stream, 0))).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    lock.release().await;
    assert!(store.append(append(&stream, 0)).await.is_ok());
}

#[tokio::test]
async fn given_a_restored_shard_then_appends_are_unavailable() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let mut shard = platform.shard(0).await;
    run(&mut shard, "UPDATE shard SET state = 'restored'").await;
    let refused = store.append(append(&fresh_order(&tenant("acme")), 0)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let health = store.health().await;
    assert!(health[0].reachable && !health[0].accepting);
}

#[tokio::test]
async fn given_a_full_queue_when_the_store_is_closed_then_everything_handed_over_is_committed() {
    let platform = Platform::fresh(1).await;
    let store = EventStore::connect(Options {
        batch_max: 2,
        ..platform.options()
    })
    .await
    .expect("connect");
    let acme = tenant("acme");
    let mut lock = HeadLock::take(&platform, 0).await;
    let pending: Vec<_> = (0..11).map(|_| spawn(&store, append(&fresh_order(&acme), 0))).collect();
    lock.someone_waits().await;
    queued(&store, 11).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    lock.release().await;
    within("closing", closing).await.expect("join");

    for append in pending {
        assert!(append.await.expect("join").is_ok());
    }
    let late = store.append(append(&fresh_order(&acme), 0)).await;
    assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
    assert_eq!(
        number(&mut platform.shard(0).await, "SELECT count(*) FROM events").await,
        11
    );
}

#[tokio::test]
async fn given_callers_that_went_away_when_the_store_is_dropped_then_their_appends_are_committed() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let mut lock = HeadLock::take(&platform, 0).await;
    let pending: Vec<_> = (0..5).map(|_| spawn(&store, append(&fresh_order(&acme), 0))).collect();
    queued(&store, 5).await;
    lock.someone_waits().await;
    for caller in pending {
        caller.abort();
    }
    drop(store);
    lock.release().await;
    let mut shard = platform.shard(0).await;
    let all = async { while number(&mut shard, "SELECT count(*) FROM events").await < 5 {} };
    within("committing what was handed over", all).await;
}
