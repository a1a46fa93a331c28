//! Pages of a slot's and a tenant's log.

use domain::{EventType, OrderId, Sequence, StreamId};
use event_store::{EventFilter, EventPage, Incarnation, Ownership, PositionToken, Slot, SlotPosition};

use crate::support::{Platform, append, create, fresh_order, fresh_uuid, neighbour_of, tenant};

fn places(page: &EventPage) -> Vec<i64> {
    page.events.iter().map(|event| event.slot_position.0).collect()
}

#[tokio::test]
async fn a_slot_is_read_page_by_page_from_where_the_last_ended() {
    let platform = Platform::fresh(2).await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let slot = Slot::of(&acme);
    for _ in 0..5 {
        store.append(create(&fresh_order(&acme))).await.expect("stored");
    }
    let mut seen = Vec::new();
    let mut after = SlotPosition(0);
    loop {
        let page = store.read_slot(slot, after, 2).await.expect("read");
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.slot_position;
        seen.extend(
            page.iter()
                .map(|event| (event.slot_position.0, event.number().map(|number| number.0))),
        );
    }
    assert_eq!(seen, (1..=5).map(|place| (place, Some(place))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_recorded_event_is_what_was_appended() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let stream = fresh_order(&tenant("acme"));
    let appended = create(&stream);
    let committed = store.append(appended.clone()).await.expect("stored");
    let read = store
        .read_slot(committed.slot, SlotPosition(0), 10)
        .await
        .expect("read");
    let [event] = read.as_slice() else {
        panic!("one event: {read:?}")
    };
    assert_eq!((&event.stream, event.sequence), (&stream, Sequence(1)));
    assert_eq!(event.event_id, appended.events[0].event_id);
    assert_eq!(event.payload.get(), appended.events[0].payload.get(), "to the byte");
    assert_eq!(event.recorded_at, committed.events[0].recorded_at);
    assert_eq!((event.token(), event.number()), (committed.token(), committed.number));
    assert_eq!(event.metadata.get("establishment_id").map(String::as_str), Some("roma"));
}

#[tokio::test]
async fn a_tenant_sees_its_own_events_only_though_it_shares_a_slot() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let neighbour = neighbour_of(&acme);
    for tenant in [&acme, &neighbour, &neighbour, &acme, &neighbour] {
        store.append(create(&fresh_order(tenant))).await.expect("stored");
    }
    let page = store
        .read_tenant(&acme, &EventFilter::default(), SlotPosition(0), 10)
        .await
        .expect("read");
    assert_eq!(places(&page), [1, 4]);
    assert!(page.events.iter().all(|event| *event.stream.tenant() == acme));
    assert_eq!(
        (page.next, page.at_end),
        (SlotPosition(5), true),
        "what was passed over is not read again"
    );

    let first = store
        .read_tenant(&acme, &EventFilter::default(), SlotPosition(0), 1)
        .await
        .expect("read");
    assert_eq!(
        (places(&first), first.next, first.at_end),
        (vec![1], SlotPosition(1), false)
    );
    let second = store
        .read_tenant(&acme, &EventFilter::default(), first.next, 1)
        .await
        .expect("read");
    assert_eq!(places(&second), [4]);
    let third = store
        .read_tenant(&acme, &EventFilter::default(), second.next, 1)
        .await
        .expect("read");
    assert_eq!((places(&third), third.at_end), (vec![], true));
}

#[tokio::test]
async fn filters_combine() {
    let platform = Platform::fresh(1).await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let order = OrderId(fresh_uuid());
    let stream = StreamId::order(&acme, order);
    let mut times = Vec::new();
    let mut elsewhere = create(&fresh_order(&acme));
    elsewhere.events[0]
        .metadata
        .insert("establishment_id".to_owned(), "milano".to_owned());
    for append in [create(&stream), append(&stream, 1), elsewhere, append(&stream, 2)] {
        times.push(store.append(append).await.expect("stored").events[0].recorded_at);
    }
    let cases = [
        (
            EventFilter {
                types: vec![EventType::OrderCreated],
                ..EventFilter::default()
            },
            vec![1, 3],
        ),
        (
            EventFilter {
                establishment: Some("milano".parse().expect("an id")),
                ..EventFilter::default()
            },
            vec![3],
        ),
        (
            EventFilter {
                order: Some(order),
                ..EventFilter::default()
            },
            vec![1, 2, 4],
        ),
        (
            EventFilter {
                order: Some(order),
                types: vec![EventType::OrderStatusChanged],
                ..EventFilter::default()
            },
            vec![2, 4],
        ),
        (
            EventFilter {
                from: Some(times[1]),
                to: Some(times[3]),
                ..EventFilter::default()
            },
            vec![2, 3],
        ),
        (
            EventFilter {
                order: Some(OrderId(fresh_uuid())),
                ..EventFilter::default()
            },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        let page = store
            .read_tenant(&acme, &filter, SlotPosition(0), 10)
            .await
            .expect("read");
        assert_eq!(places(&page), expected, "{filter:?}");
        assert!(page.at_end);
    }
}

#[tokio::test]
async fn heads_say_where_every_slot_stands() {
    let platform = Platform::fresh(2).await;
    let store = platform.store().await;
    let acme = tenant("acme");
    let committed = store.append(create(&fresh_order(&acme))).await.expect("stored");
    let mut heads = Vec::new();
    for shard in store.shards() {
        heads.extend(store.heads(shard).await.expect("heads"));
    }
    assert_eq!(heads.len(), 1024);
    assert!(heads.iter().all(|head| head.owned && head.ownership == Ownership(1)));
    let advanced: Vec<_> = heads
        .iter()
        .filter(|head| head.slot_position > SlotPosition(0))
        .collect();
    assert_eq!(advanced.len(), 1);
    assert_eq!(
        (advanced[0].slot, advanced[0].incarnation),
        (Slot::of(&acme), Incarnation(1))
    );
    assert_eq!(store.head_of(&acme).await.expect("head"), committed.token());
    let fresh = store.head_of(&tenant("dev")).await.expect("head");
    let start = PositionToken {
        slot: Slot(943),
        incarnation: Incarnation(1),
        slot_position: SlotPosition(0),
    };
    assert_eq!(fresh, start);
}
