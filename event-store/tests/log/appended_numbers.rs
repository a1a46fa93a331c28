//! The numbers that people read: 1, 2, 3… per establishment and business day, without gaps.

use crate::support::raw::{Answer, RawEvent, append, outcomes};
use crate::support::{Platform, fresh_order, neighbour_of, tenant};

const DAY: &str = "2026-02-28";

fn numbers(answers: &[Answer]) -> Vec<Option<i64>> {
    answers.iter().map(|answer| answer.number).collect()
}

#[tokio::test]
async fn each_establishment_counts_each_day_for_itself() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let acme = tenant("acme");
    let neighbour = neighbour_of(&acme);
    let order =
        |append, tenant, establishment, day| RawEvent::of(append, &fresh_order(tenant), 0).numbered(establishment, day);
    let first = append(
        &mut shard,
        &[
            order(0, &acme, "roma", DAY),
            order(1, &acme, "milano", DAY),
            order(2, &acme, "roma", DAY),
            order(3, &acme, "roma", "2026-03-01"),
            order(4, &neighbour, "roma", DAY),
            RawEvent::of(5, &fresh_order(&acme), 0),
        ],
    )
    .await;
    let second = append(
        &mut shard,
        &[order(0, &acme, "roma", DAY), order(1, &acme, "milano", DAY)],
    )
    .await;

    assert_eq!(numbers(&first), [Some(1), Some(1), Some(2), Some(1), Some(1), None]);
    assert_eq!(numbers(&second), [Some(3), Some(2)]);
}

#[tokio::test]
async fn given_an_append_that_fails_then_it_draws_no_number() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let acme = tenant("acme");
    let taken = fresh_order(&acme);
    let order = |append, stream: &_| RawEvent::of(append, stream, 0).numbered("roma", DAY);
    append(&mut shard, &[order(0, &taken)]).await;

    let batch = [
        order(0, &fresh_order(&acme)),
        order(1, &taken),
        order(2, &fresh_order(&acme)),
    ];
    let answers = append(&mut shard, &batch).await;

    assert_eq!(outcomes(&answers), ["accepted", "conflict", "accepted"]);
    assert_eq!(numbers(&answers), [Some(2), None, Some(3)]);
}

#[tokio::test]
async fn the_number_is_in_the_metadata_of_the_first_event_only() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let stream = fresh_order(&tenant("acme"));
    let event = || RawEvent::of(0, &stream, 0).numbered("roma", DAY);
    let batch = [
        event(),
        event(),
        RawEvent {
            metadata: "{}".to_owned(),
            ..event()
        },
    ];
    append(&mut shard, &batch).await;
    let bare = RawEvent {
        metadata: "{}".to_owned(),
        ..RawEvent::of(0, &fresh_order(&tenant("acme")), 0)
    };
    append(&mut shard, &[bare.numbered("roma", DAY)]).await;

    let stored: Vec<String> = sqlx::query_scalar("SELECT metadata::text FROM events ORDER BY position")
        .fetch_all(&mut shard)
        .await
        .expect("metadata");
    assert_eq!(
        stored,
        [
            r#"{"number":"1","actor":"test"}"#,
            r#"{"actor":"test"}"#,
            "{}",
            r#"{"number":"2"}"#
        ]
    );
}

#[tokio::test]
async fn given_slots_in_one_batch_then_each_counts_for_itself() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let (acme, dev) = (tenant("acme"), tenant("dev"));
    let order = |append, tenant| RawEvent::of(append, &fresh_order(tenant), 0).numbered("roma", DAY);
    let batch = [order(0, &acme), order(1, &dev), order(2, &acme), order(3, &dev)];
    assert_eq!(
        numbers(&append(&mut shard, &batch).await),
        [Some(1), Some(1), Some(2), Some(2)]
    );
}
