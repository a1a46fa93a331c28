//! Reading a prefix of the log in bulk.

use std::collections::HashMap;

use domain::{EventType, StreamId, TenantId, Timestamp};
use event_store::{Cursor, Error, EventStore, LogFilter, RecordedEvent, ShardId, Slot};

use crate::support::{Platform, append, create, fresh_order, run, tenant, within};

async fn scanned(store: &EventStore, filter: LogFilter, after: &Cursor, until: Option<&Cursor>) -> Vec<RecordedEvent> {
    let mut scan = store.scan(filter, after, until).await.expect("planned");
    let (mut events, mut reached) = (Vec::new(), after.clone());
    while let Some(page) = within("a page", scan.next()).await.expect("read") {
        reached.extend(&page.passed);
        events.extend(page.events);
    }
    for end in scan.until().tokens() {
        assert!(reached.position(end.slot) <= end.slot_position, "slot {}", end.slot);
    }
    events
}

/// Tenants with a few orders each; more slots than are read by themselves.
async fn filled(platform: &Platform, tenants: usize) -> (EventStore, Vec<TenantId>, Vec<StreamId>) {
    let store = platform.store().await;
    let tenants: Vec<TenantId> = (0..tenants).map(|number| tenant(&format!("t{number}"))).collect();
    let mut streams = Vec::new();
    for round in 0..3 {
        for tenant in &tenants {
            let stream = fresh_order(tenant);
            store.append(create(&stream)).await.expect("created");
            for sequence in 1..=round {
                store.append(append(&stream, sequence)).await.expect("changed");
            }
            streams.push(stream);
        }
    }
    (store, tenants, streams)
}

fn ids(events: &[RecordedEvent]) -> Vec<String> {
    let mut ids: Vec<String> = events.iter().map(|event| event.event_id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn given_each_filter_when_scanning_then_what_comes_is_what_a_look_at_every_event_admits() {
    let platform = Platform::fresh(3).await;
    let (store, tenants, streams) = filled(&platform, 24).await;
    let all = scanned(&store, LogFilter::default(), &Cursor::default(), None).await;
    assert_eq!(all.len(), 24 * 6);
    let mut last: HashMap<Slot, i64> = HashMap::new();
    for event in &all {
        let last = last.entry(event.slot).or_default();
        assert_eq!(event.slot_position.0, *last + 1, "in order, each once");
        *last += 1;
    }
    let mut times: Vec<Timestamp> = all.iter().map(|event| event.recorded_at).collect();
    times.sort();
    let (early, late) = (times[times.len() / 3], times[times.len() / 2]);
    let slot = Slot::of(&tenants[3]);
    let none = LogFilter::default;
    let filters = [
        LogFilter {
            tenant: Some(tenants[5].clone()),
            ..none()
        },
        LogFilter {
            stream: Some(streams[30].clone()),
            ..none()
        },
        LogFilter {
            stream: Some(streams[60].clone()),
            to: Some(late),
            ..none()
        },
        LogFilter {
            types: vec![EventType::OrderCreated],
            ..none()
        },
        LogFilter {
            types: vec![EventType::ProductDefined],
            ..none()
        },
        LogFilter {
            establishment: Some("roma".parse().expect("an id")),
            from: Some(early),
            ..none()
        },
        LogFilter {
            establishment: Some("oslo".parse().expect("an id")),
            ..none()
        },
        LogFilter {
            from: Some(early),
            to: Some(late),
            ..none()
        },
        LogFilter {
            slots: Some((slot, slot)),
            ..none()
        },
        LogFilter {
            slots: Some((Slot(200), Slot(900))),
            types: vec![EventType::OrderStatusChanged],
            ..none()
        },
    ];
    for filter in filters {
        let expected: Vec<RecordedEvent> = all.iter().filter(|event| filter.admits(event)).cloned().collect();
        let found = scanned(&store, filter.clone(), &Cursor::default(), None).await;
        assert_eq!(ids(&found), ids(&expected), "{filter:?}");
        assert!(found.iter().all(|event| filter.admits(event)));
    }
    let before = store.cursor_before(late).await.expect("found");
    let since = scanned(&store, LogFilter::default(), &before, None).await;
    assert_eq!(
        since.len(),
        all.iter().filter(|event| event.recorded_at >= late).count()
    );
    assert!(since.iter().all(|event| event.recorded_at >= late));
    let on_one = LogFilter {
        shards: vec![ShardId(1)],
        ..none()
    };
    let found = scanned(&store, on_one, &Cursor::default(), None).await;
    assert!(!found.is_empty() && found.iter().all(|event| event.slot.0 % 3 == 1));
}

#[tokio::test]
async fn given_a_scan_when_more_is_appended_then_it_ends_where_the_log_stood_and_a_second_goes_on_from_there() {
    let platform = Platform::fresh(2).await;
    let (store, tenants, _) = filled(&platform, 12).await;
    let mut scan = store
        .scan(LogFilter::default(), &Cursor::default(), None)
        .await
        .expect("planned");
    let end = scan.until().clone();
    for tenant in &tenants {
        store.append(create(&fresh_order(tenant))).await.expect("created");
    }
    let mut events = 0;
    while let Some(page) = within("a page", scan.next()).await.expect("read") {
        events += page.events.len();
    }
    assert_eq!(events, 12 * 6);
    // Also as a text, as people pass it on.
    let end: Cursor = end.to_string().parse().expect("a cursor");
    assert_eq!(scanned(&store, LogFilter::default(), &end, None).await.len(), 12);
    assert_eq!(
        scanned(&store, LogFilter::default(), &Cursor::default(), Some(&end))
            .await
            .len(),
        12 * 6
    );
    let ahead = store
        .scan(
            LogFilter::default(),
            &Cursor::default(),
            Some(&"7.1.99".parse().expect("a cursor")),
        )
        .await;
    assert!(matches!(ahead, Err(Error::Misconfigured(_))), "{ahead:?}");
}

#[tokio::test]
async fn given_an_event_that_is_missing_from_the_log_when_scanning_then_it_fails_and_names_the_slot() {
    let platform = Platform::fresh(1).await;
    let (store, tenants, _) = filled(&platform, 12).await;
    let slot = Slot::of(&tenants[4]);
    let mut shard = platform.shard(0).await;
    run(&mut shard, "ALTER TABLE events DISABLE TRIGGER events_are_append_only").await;
    run(
        &mut shard,
        &format!("DELETE FROM events WHERE slot = {slot} AND slot_position = 2"),
    )
    .await;
    let mut scan = store
        .scan(LogFilter::default(), &Cursor::default(), None)
        .await
        .expect("planned");
    let failed = loop {
        match within("a page", scan.next()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a gap was passed over"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(failed.contains(&format!("slot {slot} are missing")), "{failed}");
}

#[tokio::test]
async fn given_a_slot_that_moves_away_during_a_scan_then_what_was_there_at_its_start_still_comes() {
    let platform = Platform::fresh(1).await;
    let (store, tenants, _) = filled(&platform, 12).await;
    let mut scan = store
        .scan(LogFilter::default(), &Cursor::default(), None)
        .await
        .expect("planned");
    let mut shard = platform.shard(0).await;
    let slot = Slot::of(&tenants[4]);
    run(
        &mut shard,
        &format!("UPDATE slots SET owned = false WHERE slot = {slot}"),
    )
    .await;
    let mut events = 0;
    while let Some(page) = within("a page", scan.next()).await.expect("read") {
        events += page.events.len();
    }
    assert_eq!(events, 12 * 6);
    // Fenced, and not yet open elsewhere: it is read where all of it is.
    assert_eq!(
        scanned(&store, LogFilter::default(), &Cursor::default(), None)
            .await
            .len(),
        12 * 6
    );
}
