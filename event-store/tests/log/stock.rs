//! Stock `postgres-es` reads our streams.

use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateContext, EventStore as _};
use domain::order::{Order, OrderEvent, OrderStatus};
use domain::{OrderId, StreamId};
use event_store::Loaded;
use postgres_es::PostgresEventRepository;
use serde_json::{from_value, json};
use sqlx::PgPool;

use crate::aggregates::metadata;
use crate::support::{Platform, fresh_uuid, tenant};

#[tokio::test]
async fn given_an_order_stored_by_us_when_stock_postgres_es_loads_it_then_it_is_the_same_order() {
    let platform = Platform::fresh(1).await;
    let orders = platform.store().await.aggregates::<Order>();
    let order_id = OrderId(fresh_uuid());
    let stream = StreamId::order(&tenant("acme"), order_id);
    let created: OrderEvent = from_value(json!({
        "type": "OrderCreated", "order_id": order_id, "establishment_id": "roma",
        "terms": {"kind": "restaurant", "time_zone": "Europe/Rome", "currency": "EUR",
                  "tax": {"mode": "inclusive", "rate_ppm": 100_000}},
        "business_date": "2026-02-28", "placed_at": "2026-02-28T12:00:00.123456Z", "service_type": "dine_in",
        "items": [{"line_id": "1", "name": "Pizza", "quantity": 2, "unit_price": 900, "line_total": 1800}],
        "totals": {"subtotal": 1800, "discount": 0, "tax": 164, "tip": 0, "total": 1800},
    }))
    .expect("an event");
    let accepted: OrderEvent = from_value(json!({
        "type": "OrderStatusChanged", "order_id": order_id, "from": "placed", "to": "accepted",
        "changed_at": "2026-02-28T12:01:00Z",
    }))
    .expect("an event");
    let placed = orders
        .commit(vec![created], Loaded::fresh(stream.clone()), metadata())
        .await
        .expect("commit");
    assert_eq!(placed[0].metadata.get("number").map(String::as_str), Some("1"));
    let loaded = orders.load(&stream).await.expect("load");
    orders.commit(vec![accepted], loaded, metadata()).await.expect("commit");

    // The default table, `events`, and nothing of ours in between.
    let pool = PgPool::connect(&platform.shards[0].url).await.expect("connect");
    let stock = PersistedEventStore::<_, Order>::new_event_store(PostgresEventRepository::new(pool));
    let mut context = stock.load_aggregate(stream.aggregate_id()).await.expect("stock loads");

    let ours = orders.load_fresh(&stream).await.expect("load");
    assert_eq!(*context.aggregate(), ours.aggregate);
    assert_eq!(
        context.aggregate().state().expect("placed").status,
        OrderStatus::Accepted
    );
    let events = stock.load_events(stream.aggregate_id()).await.expect("stock loads");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].metadata.get("number").map(String::as_str), Some("1"));
}
