//! Following all shards at once while many write.

use std::collections::HashMap;

use std::time::{Duration, Instant};

use event_store::{Cursor, Error, EventStore, LogFilter, RecordedEvent, Slot};
use futures::future::join_all;

use crate::support::proxy::Proxy;
use crate::support::{Platform, append, create, fresh_order, tenant, within};

fn assert_each_slot_dense(seen: &[RecordedEvent]) {
    let mut slots: HashMap<Slot, i64> = HashMap::new();
    for event in seen {
        let last = slots.entry(event.slot).or_default();
        assert_eq!(event.slot_position.0, *last + 1, "slot {}", event.slot);
        *last += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_thirty_two_writers_on_each_of_four_shards_when_following_then_nothing_is_missing_and_all_is_in_order() {
    const ROUNDS: usize = 10;
    let platform = Platform::fresh(4).await;
    let store = platform.store().await;
    let mut tenants = Vec::new();
    for shard in 0..4_u16 {
        let here = (0..)
            .map(|n| tenant(&format!("t{n}")))
            .filter(|t| Slot::of(t).0 % 4 == shard);
        tenants.extend(here.take(32));
    }
    let total = tenants.len() * ROUNDS * 2;
    let follower = store.clone();
    let following = tokio::spawn(async move {
        let mut seen: Vec<RecordedEvent> = Vec::new();
        let mut cursor = Cursor::default();
        // Given up and resumed on the way, as a client that reconnects.
        while seen.len() < total {
            let mut follow = follower.follow(LogFilter::default(), cursor);
            for _ in 0..20 {
                if seen.len() < total {
                    seen.extend(follow.next(37).await.expect("next"));
                }
            }
            cursor = follow.cursor().to_string().parse().expect("a cursor");
        }
        seen
    });
    let writers = tenants.into_iter().map(|tenant| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let stream = fresh_order(&tenant);
                store.append(create(&stream)).await.expect("created");
                store.append(append(&stream, 1)).await.expect("changed");
            }
        })
    });
    within("writing", join_all(writers)).await;
    let seen = within("following", following).await.expect("follower");
    assert_eq!(seen.len(), total);
    assert_each_slot_dense(&seen);
    for shard in store.shards() {
        assert_eq!(store.audit(shard).await.expect("audit"), []);
    }
}

#[tokio::test]
async fn given_a_filter_then_only_what_matches_is_returned_and_the_heads_begin_behind_what_is_there() {
    let platform = Platform::fresh(2).await;
    let store = platform.store().await;
    let (acme, dev) = (tenant("acme"), tenant("dev"));
    for tenant in [&acme, &dev, &acme] {
        store.append(append(&fresh_order(tenant), 0)).await.expect("stored");
    }
    let filter = LogFilter {
        tenant: Some(acme.clone()),
        ..LogFilter::default()
    };
    let mut follow = store.follow(filter.clone(), Cursor::default());
    let events = within("the past", follow.next(10)).await.expect("next");
    assert!(events.len() == 2 && events.iter().all(|event| *event.stream.tenant() == acme));
    let now = store.cursor_at_heads().await.expect("heads");
    let stream = fresh_order(&acme);
    store.append(append(&stream, 0)).await.expect("stored");
    for mut follow in [follow, store.follow(filter, now)] {
        let events = within("what comes", follow.next(10)).await.expect("next");
        assert_eq!((events.len(), &events[0].stream), (1, &stream));
    }
}

#[tokio::test]
async fn given_a_shard_that_hangs_from_the_start_then_it_is_reported_and_the_others_are_followed() {
    let platform = Platform::fresh(2).await;
    let proxy = Proxy::to(&platform.shards[0].url).await;
    let mut options = platform.options();
    options.shards[0].url = proxy.url(&platform.shards[0].url);
    let store = EventStore::connect(options).await.expect("connect");
    let on = |shard: u16| {
        let names = (0..).map(|number| tenant(&format!("t{number}")));
        names.into_iter().find(|it| Slot::of(it).0 % 2 == shard).expect("one")
    };
    let (away, there) = (on(0), on(1));
    store.append(append(&fresh_order(&away), 0)).await.expect("stored");
    // Neither refused nor answered.
    proxy.mute(true);
    let mut follow = store.follow(LogFilter::default(), Cursor::default());
    let mut failures = 0;
    for round in 0..6 {
        let stream = fresh_order(&there);
        store.append(append(&stream, 0)).await.expect("stored");
        let asked = Instant::now();
        let events = loop {
            match within("the shard that is there", follow.next(10)).await {
                Ok(events) => break events,
                Err(Error::Unavailable { .. }) => failures += 1,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!((events.len(), &events[0].stream), (1, &stream), "round {round}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    while failures == 0 {
        let told = within("the failure", follow.next(10)).await;
        assert!(matches!(told, Err(Error::Unavailable { .. })), "{told:?}");
        failures += 1;
    }
    proxy.mute(false);
    proxy.cut();
    let events = loop {
        if let Ok(events) = within("the other shard", follow.next(10)).await {
            break events;
        }
    };
    assert_eq!((events.len(), events[0].stream.tenant()), (1, &away));
}
