//! Following a shard: every event once and in order, whatever else goes on.

use std::collections::HashMap;

use domain::{Sequence, StreamId, TenantId};
use event_store::{Error, EventStore, Options, Position, RecordedEvent, ShardId};
use futures::future::join_all;

use crate::support::{Platform, append, create, event, fresh_order, neighbour_of, run, tenant, within};

/// Creates orders, and fights the others for one stream: on a conflict it tries the next place.
async fn writer(store: EventStore, tenant: TenantId, contended: StreamId, rounds: usize) {
    let mut expected = 0;
    for _ in 0..rounds {
        let stream = fresh_order(&tenant);
        store.append(create(&stream)).await.expect("created");
        let mut pair = append(&stream, 1);
        pair.events.push(event("OrderStatusChanged"));
        store.append(pair).await.expect("two at once");
        loop {
            match store.append(append(&contended, expected)).await {
                Ok(committed) => {
                    expected = committed.events[0].sequence.0;
                    break;
                }
                Err(Error::Conflict { .. }) => expected += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn assert_dense(counter: &str, values: impl Iterator<Item = i64>) {
    let values: Vec<i64> = values.collect();
    let expected: Vec<i64> = (1..).take(values.len()).collect();
    assert_eq!(values, expected, "{counter}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_many_writers_on_one_stream_and_on_many_when_tailing_throughout_then_all_is_seen_once_in_order() {
    const WRITERS: usize = 50;
    const ROUNDS: usize = 4;
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let tenants = [acme.clone(), neighbour_of(&acme), tenant("dev")];
    let contended = fresh_order(&acme);
    let total = WRITERS * ROUNDS * 4;

    let mut tail = store.tail(ShardId(0), Position(0)).expect("tail");
    let following = tokio::spawn(async move {
        let mut seen: Vec<RecordedEvent> = Vec::new();
        while seen.len() < total {
            seen.extend(tail.next(37).await.expect("next"));
        }
        seen
    });
    let writers = (0..WRITERS).map(|index| {
        // Two processes, as far as the shard can tell.
        let (store, platform) = (store.clone(), &platform);
        let (tenant, contended) = (tenants[index % tenants.len()].clone(), contended.clone());
        async move {
            let store = if index % 10 == 0 { platform.store().await } else { store };
            tokio::spawn(writer(store, tenant, contended, ROUNDS))
                .await
                .expect("writer");
        }
    });
    within("writing", join_all(writers)).await;
    let seen = within("following", following).await.expect("follower");

    assert_dense("position", seen.iter().map(|event| event.position.0));
    let mut by_slot: HashMap<_, Vec<i64>> = HashMap::new();
    let mut by_stream: HashMap<_, Vec<i64>> = HashMap::new();
    let mut numbers: HashMap<_, Vec<i64>> = HashMap::new();
    for event in &seen {
        by_slot.entry(event.slot).or_default().push(event.slot_position.0);
        by_stream
            .entry(event.stream.clone())
            .or_default()
            .push(event.sequence.0);
        if let Some(number) = event.number() {
            numbers.entry(event.stream.tenant().clone()).or_default().push(number.0);
        }
    }
    assert_eq!(by_slot.len(), 2);
    assert_eq!(by_stream[&contended].len(), WRITERS * ROUNDS);
    assert_eq!(numbers.values().map(Vec::len).sum::<usize>(), WRITERS * ROUNDS);
    for (slot, positions) in by_slot {
        assert_dense(&format!("slot {slot}"), positions.into_iter());
    }
    for (stream, sequences) in by_stream {
        assert_dense(&stream.to_string(), sequences.into_iter());
    }
    for (tenant, numbers) in numbers {
        assert_dense(&format!("order numbers of {tenant}"), numbers.into_iter());
    }
    assert!(seen.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
    assert_eq!(store.audit(ShardId(0)).await.expect("audit"), []);
}

#[tokio::test]
async fn given_a_tail_that_waits_when_another_process_appends_then_it_is_found() {
    let platform = Platform::fresh(1).await;
    let (here, there) = (platform.store().await, platform.store().await);
    let mut tail = here.tail(ShardId(0), Position(0)).expect("tail");
    let waiting = tokio::spawn(async move { tail.next(10).await });
    let stream = fresh_order(&tenant("acme"));
    there.append(append(&stream, 0)).await.expect("stored");
    let events = within("being found", waiting).await.expect("join").expect("next");
    assert_eq!((&events[0].stream, events[0].sequence), (&stream, Sequence(1)));
}

#[tokio::test]
async fn given_a_tail_that_waits_when_this_process_appends_then_it_is_woken_without_polling() {
    let platform = Platform::fresh(1).await;
    let options = Options {
        poll_interval: std::time::Duration::from_secs(3600),
        ..platform.options()
    };
    let store = EventStore::connect(options).await.expect("connect");
    let mut tail = store.tail(ShardId(0), Position(0)).expect("tail");
    let waiting = tokio::spawn(async move { tail.next(10).await });
    tokio::task::yield_now().await;
    store
        .append(append(&fresh_order(&tenant("acme")), 0))
        .await
        .expect("stored");
    assert_eq!(
        within("being woken", waiting).await.expect("join").expect("next").len(),
        1
    );
}

#[tokio::test]
async fn given_a_position_then_the_tail_starts_behind_it() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    for _ in 0..5 {
        store
            .append(append(&fresh_order(&tenant("acme")), 0))
            .await
            .expect("stored");
    }
    let mut tail = store.tail(ShardId(0), Position(3)).expect("tail");
    let events = tail.next(1).await.expect("next");
    assert_eq!(
        (events.len(), events[0].position, tail.position()),
        (1, Position(4), Position(4))
    );
    assert!(matches!(
        store.tail(ShardId(9), Position(0)),
        Err(Error::UnknownShard(ShardId(9)))
    ));
}

#[tokio::test]
async fn copies_and_slots_that_moved_away_are_passed_over() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let (copied, gone, here) = (tenant("acme"), tenant("a"), tenant("dev"));
    for tenant in [&copied, &gone, &here] {
        store.append(append(&fresh_order(tenant), 0)).await.expect("stored");
    }
    let slot = |tenant| event_store::Slot::of(tenant);
    run(
        &mut platform.shard(0).await,
        &format!(
            "SET session_replication_role = replica;
             UPDATE events SET copied = true WHERE slot = {};
             UPDATE slots SET owned = false WHERE slot = {}",
            slot(&copied),
            slot(&gone)
        ),
    )
    .await;
    let mut tail = store.tail(ShardId(0), Position(0)).expect("tail");
    let events = within("the visible one", tail.next(1)).await.expect("next");
    assert_eq!(events.len(), 1);
    assert_eq!(*events[0].stream.tenant(), here);
}

#[tokio::test]
async fn given_a_stream_that_this_binary_does_not_know_then_the_tail_stops_there_and_says_so() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    for _ in 0..3 {
        store
            .append(append(&fresh_order(&tenant("acme")), 0))
            .await
            .expect("stored");
    }
    run(
        &mut platform.shard(0).await,
        "SET session_replication_role = replica; UPDATE events SET aggregate_type = 'drone' WHERE position = 2",
    )
    .await;
    let mut tail = store.tail(ShardId(0), Position(0)).expect("tail");
    assert_eq!(tail.next(10).await.expect("what precedes it").len(), 1);
    for _ in 0..2 {
        let stopped = tail.next(10).await;
        assert!(
            matches!(&stopped, Err(Error::UnknownStream { aggregate_type, position: Position(2), .. }) if aggregate_type == "drone"),
            "{stopped:?}"
        );
    }
}
