//! However events are delivered, the rows are the log's.

use event_store::{RecordedEvent, SlotPosition};

use crate::support::{self, ALL, eventually, expected, project, read_store, reset, rows, samples, start, within};

fn in_batches(events: &[RecordedEvent], size: usize) -> Vec<Vec<RecordedEvent>> {
    events.chunks(size).map(<[RecordedEvent]>::to_vec).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_when_everything_is_delivered_twice_then_rows_and_checkpoints_do_not_change() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();

    project(&pool, &world.log, [events.clone()]).await;
    assert_eq!(rows::all(&pool).await, expected::tables(&events));
    let once = rows::hash(&pool).await;

    // Again through the consumer's memory of it, and again through one that knows only the rows.
    project(&pool, &world.log, [events.clone(), events.clone()]).await;
    assert_eq!(rows::hash(&pool).await, once);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_when_batches_are_odd_and_overlap_then_the_rows_are_the_same() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    project(&pool, &world.log, [events.clone()]).await;
    let whole = rows::hash(&pool).await;

    for size in [1, 2, 7, 31] {
        reset(&pool).await;
        let mut batches = vec![];
        for (nth, batch) in in_batches(&events, size).into_iter().enumerate() {
            // Every third batch comes again, with what came before it.
            let from = (nth * size).saturating_sub(3 * size);
            batches.push(batch.clone());
            if nth % 3 == 2 {
                batches.push(events[from..nth * size + batch.len()].to_vec());
            }
        }
        project(&pool, &world.log, batches).await;
        assert_eq!(rows::all(&pool).await, expected::tables(&events), "batches of {size}");
        assert_eq!(rows::hash(&pool).await, whole, "batches of {size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_events_lost_on_the_way_then_they_are_read_from_the_log() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    // Every other batch is lost, the last one included.
    let batches = in_batches(&events, 5).into_iter().step_by(2).collect::<Vec<_>>();
    let lost = events.len() - batches.iter().map(Vec::len).sum::<usize>();
    assert!(lost > events.len() / 3);

    project(&pool, &world.log, batches).await;

    assert_eq!(rows::all(&pool).await, expected::tables(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_feed_that_delivers_nothing_then_comparing_with_the_heads_finds_everything() {
    let (pool, world) = (read_store().await, samples::busy_week());
    project(&pool, &world.log, []).await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_consumer_that_dies_between_and_within_batches_then_nothing_is_lost_or_doubled() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    for (nth, batch) in in_batches(&events, 4).iter().enumerate() {
        let running = start(&pool, &world.log);
        running.deliver(batch);
        // Sometimes before it began, sometimes in the middle, sometimes after the commit.
        match nth % 3 {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => {
                let last = batch.last().expect("a batch");
                running.reached_token(&ALL, &last.token()).await;
            }
        }
        running.task.abort();
    }
    project(&pool, &world.log, []).await;
    assert_eq!(rows::all(&pool).await, expected::tables(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_read_store_that_cuts_connections_then_batches_are_tried_again() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    let running = start(&pool, &world.log);
    for batch in in_batches(&events, 3) {
        running.deliver(&batch);
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(&pool)
        .await
        .ok();
    }
    running.reached(&ALL, &world.log).await;
    running.stop().await;
    assert_eq!(rows::all(&pool).await, expected::tables(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_read_store_that_refuses_every_batch_then_health_says_so_until_it_takes_them() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let running = start(&pool, &world.log);
    eventually("the consumer starts", || async { rows_exist(&pool).await }).await;
    sqlx::query("ALTER TABLE daily_sales_g1.days RENAME TO gone")
        .execute(&pool)
        .await
        .expect("renamed");

    running.deliver(&world.events());
    eventually("health is degraded", || async {
        running.progress.health().status == service::health::Status::Degraded
    })
    .await;
    // All or nothing: no read model moved on alone.
    assert_eq!(rows::count(&pool, "orders_g1.orders").await, 0);
    assert_eq!(rows::count(&pool, "meta.checkpoints WHERE slot_position > 0").await, 0);

    sqlx::query("ALTER TABLE daily_sales_g1.gone RENAME TO days")
        .execute(&pool)
        .await
        .expect("renamed");
    running.reached(&ALL, &world.log).await;
    eventually("health is well again", || async {
        running.progress.health().status == service::health::Status::Ok
    })
    .await;
    running.stop().await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

async fn rows_exist(pool: &sqlx::PgPool) -> bool {
    rows::count(pool, "meta.read_models").await == ALL.len() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_cancellation_on_a_later_day_then_the_day_of_the_order_is_restated() {
    use domain::order::{OrderStatus, Reason};
    let pool = read_store().await;
    let mut world = samples::World::new();
    let tenant = samples::tenant("roma");
    let sample = |customer, placed_at| samples::Sample {
        customer,
        placed_at,
        ..samples::Sample::default()
    };
    let first = world.place(&tenant, &sample(Some("giulia"), "2026-03-01T12:00:00Z"));
    let second = world.place(&tenant, &sample(Some("giulia"), "2026-03-01T13:00:00Z"));
    world.place(&tenant, &sample(None, "2026-03-01T14:00:00Z"));
    world.place(&tenant, &sample(Some("marco"), "2026-03-02T12:00:00Z"));
    let days = "SELECT string_agg(format('%s %s %s %s', business_date, orders, sales, unique_customers), ', '
                       ORDER BY business_date) FROM daily_sales_g1.days";
    let report = || async {
        sqlx::query_scalar::<_, String>(days)
            .fetch_one(&pool)
            .await
            .expect("days")
    };

    project(&pool, &world.log, [world.events()]).await;
    // 2 x (9.50 + 0.25) = 19.50, and 8.875 % on top: 21.23.
    assert_eq!(report().await, "2026-03-01 3 6369 1, 2026-03-02 1 2123 1");

    assert!(world.change(&first, OrderStatus::Cancelled, Some(Reason::Customer)));
    project(&pool, &world.log, [world.events()]).await;
    assert_eq!(
        report().await,
        "2026-03-01 2 4246 1, 2026-03-02 1 2123 1",
        "giulia has another order that day"
    );

    assert!(world.change(&second, OrderStatus::Rejected, Some(Reason::Closed)));
    project(&pool, &world.log, [world.events()]).await;
    assert_eq!(
        report().await,
        "2026-03-01 1 2123 0, 2026-03-02 1 2123 1",
        "only the guest is left"
    );
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_slow_start_then_progress_wakes_whoever_waits_for_a_token_and_nobody_too_early() {
    let (pool, world) = (read_store().await, samples::busy_week());
    let events = world.events();
    let running = start(&pool, &world.log);
    let mut commits = running.progress.commits();
    let token = events.last().expect("events").token();
    assert!(!rows::have_reached(&pool, &ALL, &token).await);
    // Nothing is looked at without having been woken.
    while !rows::have_reached(&pool, &ALL, &token).await {
        within("a commit", commits.changed()).await.expect("it runs");
    }
    let stored: i64 = sqlx::query_scalar("SELECT min(slot_position) FROM meta.checkpoints WHERE slot = $1")
        .bind(i32::from(token.slot.0))
        .fetch_one(&pool)
        .await
        .expect("a checkpoint");
    assert!(
        SlotPosition(stored) >= token.slot_position,
        "what is reached is committed"
    );
    let mut beyond = token;
    beyond.slot_position = SlotPosition(token.slot_position.0 + 1);
    assert!(!rows::have_reached(&pool, &ALL, &beyond).await);
    assert!(!rows::have_reached(&pool, &["no_such_model"], &token).await);
    running.stop().await;
    support::reset(&pool).await;
}
