//! What the append function judges. (What it numbers: `appended_numbers`.)

use sqlx::Connection;

use crate::support::raw::{Answer, RawEvent, append, outcomes, refusal, try_append};
use crate::support::{HeadLock, Platform, fresh_order, neighbour_of, number, run, tenant, wait_for_waiter};

#[tokio::test]
async fn given_an_empty_log_when_a_batch_is_appended_then_every_counter_is_dense() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let (acme, other) = (tenant("acme"), tenant("other"));
    let (a, b, c) = (fresh_order(&acme), fresh_order(&other), fresh_order(&acme));

    let first = append(
        &mut shard,
        &[RawEvent::of(0, &a, 0), RawEvent::of(1, &b, 0), RawEvent::of(2, &c, 0)],
    )
    .await;
    let second = append(&mut shard, &[RawEvent::of(0, &a, 1)]).await;

    let places = |answers: &[Answer]| -> Vec<_> {
        answers
            .iter()
            .map(|answer| (answer.sequence, answer.position, answer.slot_position))
            .collect()
    };
    assert_eq!(
        places(&first),
        [
            (Some(1), Some(1), Some(1)),
            (Some(1), Some(2), Some(1)),
            (Some(1), Some(3), Some(2))
        ]
    );
    assert_eq!(places(&second), [(Some(2), Some(4), Some(3))]);
    assert_eq!(number(&mut shard, "SELECT position FROM shard").await, 4);
}

#[tokio::test]
async fn given_several_events_in_one_append_then_they_are_stored_together_in_order() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let (a, b) = (fresh_order(&tenant("acme")), fresh_order(&tenant("acme")));
    let batch = [
        RawEvent::of(0, &a, 0),
        RawEvent::of(0, &a, 0),
        RawEvent::of(0, &a, 0),
        RawEvent::of(1, &b, 0),
    ];

    let answers = append(&mut shard, &batch).await;

    let places: Vec<_> = answers
        .iter()
        .map(|answer| (answer.sequence, answer.slot_position))
        .collect();
    assert_eq!(
        places,
        [
            (Some(1), Some(1)),
            (Some(2), Some(2)),
            (Some(3), Some(3)),
            (Some(1), Some(4))
        ]
    );
}

#[tokio::test]
async fn given_a_conflict_then_none_of_its_events_is_stored_and_its_neighbours_are() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let acme = tenant("acme");
    let (a, b, c) = (fresh_order(&acme), fresh_order(&acme), fresh_order(&acme));
    append(&mut shard, &[RawEvent::of(0, &a, 0)]).await;

    let batch = [
        RawEvent::of(0, &b, 0),
        // Behind the stream, with three events; ahead of one; ahead of one that has none.
        RawEvent::of(1, &a, 0),
        RawEvent::of(1, &a, 0),
        RawEvent::of(1, &a, 0),
        RawEvent::of(2, &c, 7),
        RawEvent::of(3, &fresh_order(&acme), 0),
    ];
    let answers = append(&mut shard, &batch).await;

    assert_eq!(
        outcomes(&answers),
        ["accepted", "conflict", "conflict", "conflict", "conflict", "accepted"]
    );
    assert_eq!((answers[0].slot_position, answers[5].slot_position), (Some(2), Some(3)));
    assert!(
        answers[1..5]
            .iter()
            .all(|answer| answer.position.is_none() && answer.sequence.is_none())
    );
    assert_eq!(number(&mut shard, "SELECT count(*) FROM events").await, 3);
}

#[tokio::test]
async fn given_bad_data_in_the_last_of_several_events_then_nothing_of_the_call_is_stored() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    run(
        &mut shard,
        "ALTER TABLE events ADD CONSTRAINT planted CHECK (event_type <> 'Poison')",
    )
    .await;
    let a = fresh_order(&tenant("acme"));
    let batch = [RawEvent::of(0, &a, 0), RawEvent::of(0, &a, 0).of_type("Poison")];

    assert_eq!(refusal(&mut shard, &batch).await.0, "23514");

    assert_eq!(
        number(&mut shard, "SELECT count(*) + (SELECT position FROM shard) FROM events").await,
        0
    );
    let answers = append(&mut shard, &[RawEvent::of(0, &a, 0)]).await;
    assert_eq!(
        (answers[0].position, answers[0].slot_position),
        (Some(1), Some(1)),
        "no gap was left"
    );
}

#[tokio::test]
async fn given_another_isolation_level_then_the_call_is_refused() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let batch = [RawEvent::of(0, &fresh_order(&tenant("acme")), 0)];
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut transaction = shard.begin().await.expect("begin");
        run(&mut transaction, &format!("SET TRANSACTION ISOLATION LEVEL {level}")).await;
        let (code, message) = refusal(&mut *transaction, &batch).await;
        assert_eq!(code, "CM001");
        assert!(
            message.contains("READ COMMITTED") && message.contains(level),
            "{message}"
        );
    }
    let volatile = "SELECT count(*) FROM pg_proc WHERE proname = 'append_events' AND provolatile = 'v'";
    assert_eq!(number(&mut shard, volatile).await, 1);
}

#[tokio::test]
async fn given_two_calls_at_once_when_the_second_waited_for_the_lock_then_it_judges_what_the_first_stored() {
    let platform = Platform::fresh(1).await;
    let (mut first, mut second) = (platform.shard(0).await, platform.shard(0).await);
    let contended = fresh_order(&tenant("acme"));
    let other = fresh_order(&tenant("acme"));
    let mut transaction = first.begin().await.expect("begin");
    append(&mut transaction, &[RawEvent::of(0, &contended, 0)]).await;

    let batch = [RawEvent::of(0, &contended, 0), RawEvent::of(1, &other, 0)];
    let waiting = tokio::spawn(async move { try_append(&mut second, &batch).await });
    wait_for_waiter(&mut platform.shard(0).await).await;
    transaction.commit().await.expect("commit");

    // A single statement would have judged the streams as they were before it waited, and failed on
    // the primary key instead.
    let answers = waiting.await.expect("join").expect("judged");
    assert_eq!(outcomes(&answers), ["conflict", "accepted"]);
    assert_eq!((answers[1].position, answers[1].slot_position), (Some(2), Some(2)));
}

#[tokio::test]
async fn given_a_batch_whose_outcome_is_unknown_when_it_is_sent_again_then_it_is_recognised() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let acme = tenant("acme");
    let (a, b) = (fresh_order(&acme), fresh_order(&acme));
    let batch = [
        RawEvent::of(0, &a, 0).numbered("roma", "2026-02-28"),
        RawEvent::of(0, &a, 0),
        RawEvent::of(1, &b, 0).numbered("roma", "2026-02-28"),
    ];
    let stored = append(&mut shard, &batch).await;
    // The stream goes on before the batch is sent again.
    append(&mut shard, &[RawEvent::of(0, &a, 2)]).await;

    let again = append(&mut shard, &batch).await;

    assert_eq!(outcomes(&again), ["already_committed"; 3]);
    let as_stored: Vec<Answer> = again
        .into_iter()
        .map(|answer| Answer {
            outcome: "accepted".to_owned(),
            ..answer
        })
        .collect();
    assert_eq!(
        as_stored, stored,
        "positions, sequences, times and numbers are those first given"
    );
    assert_eq!(number(&mut shard, "SELECT count(*) FROM events").await, 4);
    assert_eq!(
        number(&mut shard, "SELECT sum(last_number)::bigint FROM order_numbers").await,
        2
    );
}

#[tokio::test]
async fn given_another_append_at_the_same_place_then_it_conflicts_even_with_equal_content() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let stream = fresh_order(&tenant("acme"));
    append(&mut shard, &[RawEvent::of(0, &stream, 0)]).await;
    let answers = append(&mut shard, &[RawEvent::of(0, &stream, 0)]).await;
    assert_eq!(outcomes(&answers), ["conflict"]);
}

#[tokio::test]
async fn given_a_slot_that_is_not_owned_then_that_append_alone_fails() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let (gone, never, here) = (tenant("acme"), tenant("a"), tenant("dev"));
    let slot = |tenant| event_store::Slot::of(tenant);
    run(
        &mut shard,
        &format!("UPDATE slots SET owned = false WHERE slot = {}", slot(&gone)),
    )
    .await;
    run(&mut shard, &format!("DELETE FROM slots WHERE slot = {}", slot(&never))).await;

    let batch = [
        RawEvent::of(0, &fresh_order(&gone), 0),
        RawEvent::of(1, &fresh_order(&here), 0),
        RawEvent::of(2, &fresh_order(&never), 0),
    ];
    let answers = append(&mut shard, &batch).await;

    assert_eq!(outcomes(&answers), ["not_owned", "accepted", "not_owned"]);
    assert_eq!(answers[1].position, Some(1));
}

#[tokio::test]
async fn given_a_stream_twice_in_a_batch_then_the_batch_is_refused() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let stream = fresh_order(&tenant("acme"));
    for expected_second in [0, 1] {
        let batch = [RawEvent::of(0, &stream, 0), RawEvent::of(1, &stream, expected_second)];
        assert_eq!(refusal(&mut shard, &batch).await.0, "CM002");
    }
    assert_eq!(number(&mut shard, "SELECT count(*) FROM events").await, 0);
}

#[tokio::test]
async fn given_a_restored_or_promoted_shard_then_it_takes_nothing_until_it_is_opened() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let batch = [RawEvent::of(0, &fresh_order(&tenant("acme")), 0)];
    for state in ["restored", "promoted"] {
        run(&mut shard, &format!("UPDATE shard SET state = '{state}'")).await;
        let (code, message) = refusal(&mut shard, &batch).await;
        assert_eq!(code, "CM004");
        assert!(message.contains(state), "{message}");
    }
    run(&mut shard, "UPDATE shard SET state = 'open'").await;
    assert_eq!(outcomes(&append(&mut shard, &batch).await), ["accepted"]);
}

#[tokio::test]
async fn given_a_database_that_is_not_yet_a_shard_then_it_takes_nothing() {
    let platform = Platform::empty(1).await;
    let mut shard = platform.shard(0).await;
    let batch = [RawEvent::of(0, &fresh_order(&tenant("acme")), 0)];
    assert_eq!(refusal(&mut shard, &batch).await.0, "CM003");
}

#[tokio::test]
async fn given_a_clock_that_goes_back_then_recorded_at_does_not() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let (ahead, other) = (tenant("acme"), tenant("dev"));
    let slot = event_store::Slot::of(&ahead);
    run(
        &mut shard,
        &format!("UPDATE slots SET recorded_at = now() + interval '1 day' WHERE slot = {slot}"),
    )
    .await;

    let batch = [
        RawEvent::of(0, &fresh_order(&ahead), 0),
        RawEvent::of(1, &fresh_order(&other), 0),
    ];
    let first = append(&mut shard, &batch).await;
    let second = append(&mut shard, &[RawEvent::of(0, &fresh_order(&ahead), 0)]).await;

    assert!(second[0].recorded_at >= first[0].recorded_at);
    assert!(
        first[1].recorded_at < first[0].recorded_at,
        "another slot keeps the clock's time"
    );
}

#[tokio::test]
async fn given_a_raised_incarnation_then_answers_carry_it() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    run(&mut shard, "UPDATE slots SET incarnation = 3").await;
    let answers = append(&mut shard, &[RawEvent::of(0, &fresh_order(&tenant("acme")), 0)]).await;
    assert_eq!(answers[0].incarnation, Some(3));
}

#[tokio::test]
async fn given_a_call_that_is_rolled_back_then_its_positions_are_given_out_again() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let batch = || [RawEvent::of(0, &fresh_order(&tenant("acme")), 0).numbered("roma", "2026-02-28")];
    let mut transaction = shard.begin().await.expect("begin");
    let lost = append(&mut transaction, &batch()).await;
    transaction.rollback().await.expect("rollback");

    let kept = append(&mut shard, &batch()).await;

    let place = |answer: &Answer| (answer.position, answer.slot_position, answer.number);
    assert_eq!(place(&kept[0]), place(&lost[0]));
}

#[tokio::test]
async fn history_cannot_be_changed() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    append(&mut shard, &[RawEvent::of(0, &fresh_order(&tenant("acme")), 0)]).await;
    for change in [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
    ] {
        let error = sqlx::query(change).execute(&mut shard).await.expect_err(change);
        assert_eq!(
            error.as_database_error().and_then(|error| error.code()).as_deref(),
            Some("CM010"),
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_stream_named_after_another_tenant_is_refused() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    let acme = tenant("acme");
    let mut event = RawEvent::of(0, &fresh_order(&neighbour_of(&acme)), 0);
    event.tenant = acme.to_string();
    assert_eq!(refusal(&mut shard, &[event]).await.0, "23514");
}

#[tokio::test]
async fn given_thousands_of_appends_in_one_call_then_the_work_grows_no_faster_than_they_do() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    // Quadratic work would be some 10^8 comparisons here, and run into the time-out.
    run(&mut shard, "SET statement_timeout = '15s'").await;
    let acme = tenant("acme");
    let one = |index| RawEvent::of(index, &fresh_order(&acme), 0).numbered("roma", "2026-02-28");
    let batch: Vec<RawEvent> = (0..16_000).map(one).collect();
    let answers = append(&mut shard, &batch).await;
    assert_eq!(
        answers.last().map(|last| (last.slot_position, last.number)),
        Some((Some(16_000), Some(16_000)))
    );
}

#[tokio::test]
async fn a_reader_never_waits_for_an_append() {
    let platform = Platform::fresh(1).await;
    let mut shard = platform.shard(0).await;
    append(&mut shard, &[RawEvent::of(0, &fresh_order(&tenant("acme")), 0)]).await;
    let lock = HeadLock::take(&platform, 0).await;
    run(&mut shard, "SET lock_timeout = '100ms'").await;
    assert_eq!(number(&mut shard, "SELECT count(*) FROM events, shard").await, 1);
    lock.release().await;
}
