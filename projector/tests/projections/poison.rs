//! An event that cannot be applied stops its own stream in its own read model, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::order::OrderStatus;
use domain::{AggregateType, StreamId};
use event_store::RecordedEvent;
use projector::parked::{Retried, retry};
use projector::projections::{DailySales, Orders};
use projector::{Change, Consumer, FoldError, Projection, Registered, Schema, StreamEvent, WriteError};
use sqlx::{PgConnection, PgPool};

use crate::support::{ALL, expected, project, read_store, rows, samples, settings, start_with};

const MALFORMED: &str = r#"{"type":"OrderStatusChanged","order_id":17}"#;

/// Events of the log that are neither of this stream nor before `from`.
fn without(events: &[RecordedEvent], stream: &StreamId, from: i64) -> Vec<RecordedEvent> {
    events
        .iter()
        .filter(|event| event.stream != *stream || event.sequence.0 < from)
        .cloned()
        .collect()
}

async fn parked(pool: &PgPool) -> Vec<(String, String, i64, i64)> {
    sqlx::query_as(
        "SELECT s.read_model, s.aggregate_id, s.first_sequence, count(e.sequence)
           FROM meta.parked_streams AS s LEFT JOIN meta.parked_events AS e
                USING (read_model, generation, aggregate_type, aggregate_id)
          GROUP BY 1, 2, 3 ORDER BY 1, 2",
    )
    .fetch_all(pool)
    .await
    .expect("parked streams")
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_malformed_event_then_its_stream_is_parked_from_there_and_all_others_go_on() {
    let (pool, mut world) = (read_store().await, samples::busy_week());
    let tenant = samples::tenant("roma");
    let sick = world.place(&tenant, &samples::Sample::default());
    let healthy = world.place(&tenant, &samples::Sample::default());
    world
        .log
        .append_raw(&sick, "OrderStatusChanged", "1.0", MALFORMED, None);
    assert!(world.change(&sick, OrderStatus::Accepted, None));
    assert!(world.change(&healthy, OrderStatus::Accepted, None));
    let before = world.events();
    project(&pool, &world.log, before.chunks(5).map(<[RecordedEvent]>::to_vec)).await;

    // Later events line up behind, also for a projector that has only just started.
    assert!(world.change(&sick, OrderStatus::Preparing, None));
    assert!(world.change(&healthy, OrderStatus::Preparing, None));
    project(&pool, &world.log, [world.events()]).await;

    let id = sick.aggregate_id().to_owned();
    let of = |read_model: &str| (read_model.to_owned(), id.clone(), 2, 3);
    assert_eq!(
        parked(&pool).await,
        vec![of("daily_sales"), of("order_timeline"), of("orders")]
    );
    let events = world.events();
    assert_eq!(rows::all(&pool).await, expected::tables(&without(&events, &sick, 2)));
    let applied = rows::count(&pool, "order_timeline_g1.entries").await;
    let of_orders = events
        .iter()
        .filter(|event| event.stream.kind() == AggregateType::Order)
        .count();
    assert_eq!(applied + 3, of_orders as i64, "parked and applied are all there is");
    assert_eq!(rows::count(&pool, "meta.checkpoints WHERE parked > 0").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_poison_when_it_is_delivered_again_or_retried_unchanged_then_nothing_changes() {
    let (pool, mut world) = (read_store().await, samples::World::new());
    let sick = world.place(&samples::tenant("roma"), &samples::Sample::default());
    world
        .log
        .append_raw(&sick, "OrderStatusChanged", "1.0", MALFORMED, None);
    assert!(world.change(&sick, OrderStatus::Accepted, None));
    project(&pool, &world.log, [world.events()]).await;
    let once = (rows::hash(&pool).await, parked(&pool).await);

    project(&pool, &world.log, [world.events(), world.events()]).await;
    assert_eq!((rows::hash(&pool).await, parked(&pool).await), once);

    let retried = retry(&pool, &world.log, &projector::registry::all(), None)
        .await
        .expect("retried");
    assert_eq!(
        retried,
        Retried {
            freed_streams: 0,
            still_parked: 3,
            applied_events: 0
        }
    );
    assert_eq!((rows::hash(&pool).await, parked(&pool).await), once);
}

/// Orders by code that does not understand recalls, until it is mended.
#[derive(Clone)]
struct Picky {
    inner: Orders,
    mended: Arc<AtomicBool>,
}

impl Projection for Picky {
    const NAME: &'static str = Orders::NAME;
    const CODE_VERSION: i32 = Orders::CODE_VERSION;
    type State = <Orders as Projection>::State;

    fn reads(&self, kind: AggregateType) -> bool {
        self.inner.reads(kind)
    }

    fn fold(&self, before: Option<&Self::State>, event: &StreamEvent<'_>) -> Result<Self::State, FoldError> {
        if event.sequence.0 == 3 && !self.mended.load(Ordering::SeqCst) {
            return Err(FoldError::Other("not understood".to_owned()));
        }
        self.inner.fold(before, event)
    }

    fn settled(&self, state: Self::State) -> Option<Self::State> {
        self.inner.settled(state)
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> Result<Vec<(usize, Self::State)>, sqlx::Error> {
        self.inner.load(connection, schema, streams).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, Self::State>],
    ) -> Result<(), WriteError> {
        self.inner.write(connection, schema, changes).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_parked_streams_when_the_code_is_mended_then_a_retry_applies_them_in_order() {
    let (pool, mut world) = (read_store().await, samples::busy_week());
    let open = world.place(&samples::tenant("roma"), &samples::Sample::default());
    for to in [OrderStatus::Accepted, OrderStatus::Preparing] {
        assert!(world.change(&open, to, None));
    }
    let mended = Arc::new(AtomicBool::new(false));
    let mut models = projector::registry::all();
    models[0] = Registered::new(Picky {
        inner: Orders,
        mended: Arc::clone(&mended),
    });
    let consumer = Consumer::with_models(pool.clone(), settings(), models.clone());
    let running = start_with(&pool, consumer, &world.log);
    running.deliver(&world.events());
    running.reached(&ALL, &world.log).await;
    let streams = parked(&pool).await;
    assert!(
        streams.len() >= 9
            && streams
                .iter()
                .all(|(model, _, first, _)| model == "orders" && *first == 3)
    );
    let waiting: i64 = streams.iter().map(|(_, _, _, waiting)| waiting).sum();
    let versions: i64 = sqlx::query_scalar("SELECT sum(version)::bigint FROM orders_g1.orders")
        .fetch_one(&pool)
        .await
        .expect("a sum");
    let all = world
        .events()
        .iter()
        .filter(|event| event.stream.kind() == AggregateType::Order)
        .count() as i64;
    assert_eq!(versions + waiting, all, "parked and applied are all there is");

    // While the projector runs; further events then find the stream free.
    mended.store(true, Ordering::SeqCst);
    let retried = retry(&pool, &world.log, &models, Some("orders"))
        .await
        .expect("retried");
    let expected_result = Retried {
        freed_streams: streams.len(),
        still_parked: 0,
        applied_events: usize::try_from(waiting).expect("few"),
    };
    assert_eq!(retried, expected_result);
    assert_eq!(parked(&pool).await, vec![]);
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));

    assert!(world.change(&open, OrderStatus::Ready, None));
    running.deliver(&world.events());
    running.reached(&ALL, &world.log).await;
    running.stop().await;
    assert_eq!(rows::all(&pool).await, expected::tables(&world.events()));
    assert_eq!(rows::count(&pool, "meta.checkpoints WHERE parked <> 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn given_rows_that_the_database_refuses_then_only_the_stream_at_fault_is_parked() {
    let (pool, mut world) = (read_store().await, samples::World::new());
    let tenant = samples::tenant("roma");
    let first = world.place(&tenant, &samples::Sample::default());
    // A log that gives one number twice is broken, and the unique index knows.
    let created = world.events().remove(0);
    let twin = StreamId::order(&tenant, domain::OrderId(uuid::Uuid::from_u128(7)));
    let mut forged = world
        .log
        .append_raw(&twin, "OrderCreated", "1.0", created.payload.get(), None);
    forged.metadata = created.metadata.clone();
    world.place(&tenant, &samples::Sample::default());
    assert!(world.change(&first, OrderStatus::Accepted, None));
    let delivered: Vec<RecordedEvent> = world
        .events()
        .into_iter()
        .map(|event| if event.stream == twin { forged.clone() } else { event })
        .collect();

    project(&pool, &world.log, [delivered]).await;

    let streams = parked(&pool).await;
    assert_eq!(
        streams,
        vec![("orders".to_owned(), twin.aggregate_id().to_owned(), 1, 1)]
    );
    assert_eq!(rows::count(&pool, "orders_g1.orders").await, 2);
    assert_eq!(rows::count(&pool, "order_timeline_g1.entries").await, 4);
    let sold: i64 = sqlx::query_scalar("SELECT orders FROM daily_sales_g1.days")
        .fetch_one(&pool)
        .await
        .expect("a day");
    assert_eq!(sold, 3, "the other read models have no quarrel with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_day_that_would_mix_currencies_or_overflow_then_the_order_at_fault_is_parked() {
    let (pool, mut world) = (read_store().await, samples::World::new());
    let tenant = samples::tenant("roma");
    world.place(&tenant, &samples::Sample::default());
    let created = world.events().remove(0);
    let forge = |id: u128, payload: String| {
        let stream = StreamId::order(&tenant, domain::OrderId(uuid::Uuid::from_u128(id)));
        world.log.append_raw(
            &stream,
            "OrderCreated",
            "1.0",
            &payload,
            Some("roma/trattoria/2026-03-01"),
        );
        stream
    };
    let yen = forge(8, created.payload.get().replace("\"USD\"", "\"JPY\""));
    let vast = forge(
        9,
        created
            .payload
            .get()
            .replace("\"total\":2123", &format!("\"total\":{}", i64::MAX)),
    );

    project(&pool, &world.log, [world.events()]).await;

    let of = |stream: &StreamId| (DailySales::NAME.to_owned(), stream.aggregate_id().to_owned(), 1, 1);
    assert_eq!(parked(&pool).await, vec![of(&yen), of(&vast)]);
    let sales: i64 = sqlx::query_scalar("SELECT sales FROM daily_sales_g1.days")
        .fetch_one(&pool)
        .await
        .expect("a day");
    assert_eq!(sales, 2123);
}
