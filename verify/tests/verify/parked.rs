//! Parked streams looked at, retried and given up, and what verifying makes of it.

use domain::order::OrderStatus;
use domain::{AggregateType, Sequence, StreamId};
use projector::parked::{self, ParkedStream, Retried, Selection};
use projector::registry;
use verify::Scope;

use crate::support::{Sample, World, tenant};

/// A read store in which an order of roma clashes with a row that somebody put there, and the second
/// order of milano has an event that nobody can read.
async fn unwell() -> (World, StreamId, StreamId) {
    let mut world = World::new().await;
    let (roma, milano) = (tenant("roma"), tenant("milano"));
    world.week(&roma).await;
    let orders = world.week(&milano).await;
    world.project().await;
    world
        .execute("UPDATE orders_g1.orders SET number = 5 WHERE tenant_id = 'roma' AND status = 'placed'")
        .await;
    let sample = Sample {
        establishment: "main",
        customer: None,
        placed_at: "2026-03-01T12:00:00Z",
        items: vec![(1, 100)],
    };
    let clashing = world.place(&roma, &sample).await;
    assert!(world.change(&clashing, OrderStatus::Accepted).await);
    world.poison(&orders[1]).await;
    assert!(world.change(&orders[1], OrderStatus::Accepted).await);
    world.project().await;
    (world, clashing, orders[1].clone())
}

fn of(stream: &StreamId) -> Selection {
    Selection {
        stream: Some(stream.to_string()),
        ..Selection::default()
    }
}

fn of_model(read_model: &str) -> Selection {
    Selection {
        read_model: Some(read_model.to_owned()),
        ..Selection::default()
    }
}

async fn list(world: &World, selection: &Selection) -> Vec<ParkedStream> {
    parked::list(&world.read_store, selection).await.expect("listed")
}

async fn retry(world: &World, selection: &Selection) -> Retried {
    let models = registry::all();
    let retried = parked::retry_selected(&world.read_store, &world.log(), &models, selection).await;
    retried.expect("retried")
}

async fn mend(world: &World) {
    world
        .execute("UPDATE orders_g1.orders SET number = 2 WHERE tenant_id = 'roma' AND number = 5")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_parked_streams_then_they_are_listed_by_what_is_asked_for() {
    let (world, clashing, sick) = unwell().await;

    let all = list(&world, &Selection::default()).await;
    let short: Vec<_> = all
        .iter()
        .map(|it| (it.read_model.as_str(), &it.stream, it.first.0, it.waiting))
        .collect();
    assert_eq!(
        short,
        [
            ("daily_sales", &sick, 2, 2),
            ("order_timeline", &sick, 2, 2),
            ("orders", &sick, 2, 2),
            ("orders", &clashing, 1, 2),
        ]
    );
    assert!(all.iter().all(|it| it.served && !it.dropped && it.generation == 1));
    assert!(all[3].error.contains("orders_by_number"), "{}", all[3].error);

    let of_orders = list(&world, &of_model("orders")).await;
    assert!(of_orders.iter().map(|it| &it.stream).eq([&sick, &clashing]));
    for name in [sick.to_string(), sick.aggregate_id().to_owned(), sick.id().to_owned()] {
        let stream = Some(name);
        let selection = Selection {
            stream,
            ..Selection::default()
        };
        assert_eq!(list(&world, &selection).await.len(), 3);
    }
    let of_roma = Selection {
        tenant: Some(tenant("roma")),
        ..Selection::default()
    };
    assert_eq!(list(&world, &of_roma).await.len(), 1);
    let of_generation_2 = Selection {
        generation: Some(2),
        ..Selection::default()
    };
    assert_eq!(list(&world, &of_generation_2).await, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_parked_stream_then_its_events_are_shown_as_the_log_has_them() {
    let (world, _, sick) = unwell().await;
    let selection = Selection {
        read_model: Some("orders".to_owned()),
        ..of(&sick)
    };
    let shown = parked::show(&world.read_store, &world.log(), &selection)
        .await
        .expect("shown");
    assert_eq!(shown.len(), 1);
    let events = &shown[0].events;
    assert_eq!(
        events.iter().map(|event| event.sequence).collect::<Vec<_>>(),
        [Sequence(2), Sequence(3)]
    );
    let malformed = events[0].content.as_ref().expect("in the log");
    assert_eq!(malformed.payload.get(), r#"{"type":"OrderStatusChanged","to":17}"#);
    assert!(
        malformed
            .unreadable
            .as_ref()
            .is_some_and(|why| why.contains("malformed"))
    );
    let behind = events[1].content.as_ref().expect("in the log");
    assert_eq!(
        (behind.event_type.as_str(), &behind.unreadable),
        ("OrderStatusChanged", &None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_cause_that_is_gone_when_the_stream_is_retried_then_it_goes_on_and_others_are_left() {
    let (mut world, clashing, sick) = unwell().await;
    let retried = retry(&world, &of(&clashing)).await;
    assert_eq!(
        (retried.freed_streams, retried.still_parked),
        (0, 1),
        "the row is still in the way"
    );

    mend(&world).await;
    let retried = retry(&world, &of(&clashing)).await;
    let expected = Retried {
        freed_streams: 1,
        still_parked: 0,
        applied_events: 2,
    };
    assert_eq!(retried, expected);
    assert_eq!(list(&world, &of(&clashing)).await, vec![]);
    assert_eq!(list(&world, &of(&sick)).await.len(), 3);

    assert!(world.change(&clashing, OrderStatus::Preparing).await);
    world.project().await;
    let report = world.verify(&Scope::default()).await;
    assert!(report.is_clean(), "{:#?}", report.differences);
    let retried = retry(&world, &of_model("daily_sales")).await;
    assert_eq!((retried.freed_streams, retried.still_parked), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_stream_that_is_given_up_then_it_stands_still_says_so_and_nothing_waits_for_it() {
    let (mut world, _, sick) = unwell().await;
    mend(&world).await;
    let selection = Selection {
        read_model: Some("orders".to_owned()),
        ..of(&sick)
    };
    let dropped = parked::drop(&world.read_store, &selection).await.expect("given up");
    let told: Vec<_> = dropped
        .iter()
        .map(|it| (it.read_model.as_str(), &it.stream, it.events))
        .collect();
    assert_eq!(told, [("orders", &sick, 2)]);
    assert_eq!(
        parked::drop(&world.read_store, &selection).await.expect("looked"),
        vec![]
    );

    // Later events pass it by, and line up where it is only parked.
    assert!(world.change(&sick, OrderStatus::Preparing).await);
    world.project().await;
    let listed = list(&world, &of(&sick)).await;
    let told: Vec<_> = listed
        .iter()
        .map(|it| (it.read_model.as_str(), it.dropped, it.waiting))
        .collect();
    assert_eq!(
        told,
        [
            ("daily_sales", false, 3),
            ("order_timeline", false, 3),
            ("orders", true, 0)
        ]
    );
    let status: String =
        sqlx::query_scalar("SELECT status FROM orders_g1.orders WHERE tenant_id = 'milano' AND order_id::text = $1")
            .bind(sick.id())
            .fetch_one(&world.read_store)
            .await
            .expect("a row");
    assert_eq!((status.as_str(), sick.kind()), ("placed", AggregateType::Order));

    let retried = retry(&world, &selection).await;
    assert_eq!(retried, Retried::default(), "what was given up is not tried again");
    let report = world.verify(&Scope::default()).await;
    assert!(report.is_clean(), "{:#?}", report.differences);

    // It still counts as what it is: a row that moved on is wrong.
    world
        .execute(&format!(
            "UPDATE orders_g1.orders SET status = 'accepted' WHERE tenant_id = 'milano' AND order_id = '{}'",
            sick.id()
        ))
        .await;
    let report = world.verify(&Scope::default()).await;
    assert_eq!(report.differences.len(), 1, "{:#?}", report.differences);
}
