//! Orders as they stood, from a real log.

use axum::Router;
use domain::metadata::key;
use domain::order::{
    ChangeStatus, Customer, Modifier, Order, OrderCommand, OrderStatus, PlaceOrder, PricedItem, Reason,
};
use domain::order::{ServiceType, Terms, decide};
use domain::{Amount, Metadata, OrderId, Personal, StreamId, TenantId, Text, Timestamp};
use event_store::{ControlOptions, EventStore, Loaded, Options, ShardId, ShardOptions};
use query_api::History;
use serde_json::{Value, json};
use service::settings::QuerySettings;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::support::{Answer, OrderRow, World, post, send};

const ORDER: &str = "0198c0de-0000-7000-8000-00000000000a";
/// Every field of an order.
const WHOLE: &str = "{ id key number reference businessDate establishmentId status serviceType channel tableId
    subtotal { amount currency } discount { amount } tax { amount } tip { amount } total { amount currency }
    itemCount customer { id key name contact } note placedAt updatedAt version
    items { id key productId name quantity unitPrice { amount } lineTotal { amount currency } note
            modifiers { key name price { amount } } }
    timeline { sequence type fromStatus status reason actor occurredAt recordedAt } }";

/// A log of one shard beside a read store, and the router over both.
struct Log {
    world: World,
    shard: String,
    options: Options,
    store: EventStore,
    router: Router,
}

impl Log {
    async fn start() -> Self {
        let (control, shard) = (
            migrated(migrations::Database::Control).await,
            migrated(migrations::Database::EventStore).await,
        );
        let shards = vec![ShardOptions {
            id: ShardId(0),
            url: shard.clone(),
        }];
        let mut connection = PgConnection::connect(&control).await.unwrap();
        event_store::bootstrap(&mut connection, &shards).await.unwrap();
        let options = Options {
            shards,
            control: Some(ControlOptions { url: control }),
            ..Options::default()
        };
        let store = EventStore::connect(options.clone()).await.unwrap();
        let world = World::new().await;
        let api = world
            .api(&QuerySettings::default())
            .with_history(History::of(store.clone()));
        let router = query_api::router(api);
        Self {
            world,
            shard,
            options,
            store,
            router,
        }
    }

    /// Stores what the command decides, as the command API does.
    async fn run(&self, tenant: &str, command: OrderCommand) {
        let orders = self.store.aggregates::<Order>();
        let stream = StreamId::order(&TenantId::new(tenant).unwrap(), order_id());
        let loaded: Loaded<Order> = orders.load_fresh(&stream).await.unwrap();
        let events = decide(&loaded.aggregate, command).unwrap();
        let metadata = Metadata::from([
            (key::ESTABLISHMENT_ID.to_owned(), "main".to_owned()),
            (key::ACTOR.to_owned(), "waiter".to_owned()),
        ]);
        orders.commit(events, loaded, metadata).await.unwrap();
    }

    /// Placed, accepted, cancelled.
    async fn live_a_life(&self, tenant: &str, word: &str) {
        self.run(tenant, place(word)).await;
        for (to, reason) in [
            (OrderStatus::Accepted, None),
            (OrderStatus::Cancelled, Some(Reason::Customer)),
        ] {
            let at = service::edge::now();
            self.run(tenant, OrderCommand::ChangeStatus(ChangeStatus { to, reason, at }))
                .await;
        }
    }

    async fn ask(&self, token: &str, arguments: &str) -> Answer {
        let query = format!("{{ order(id: \"{ORDER}\"{arguments}) {WHOLE} }}");
        send(&self.router, post(token, &json!({ "query": query }))).await
    }

    async fn order(&self, tenant: &str, arguments: &str) -> Value {
        self.ask(&self.world.token(tenant), arguments).await.data()["order"].take()
    }

    /// Takes the log away, and gives it back.
    async fn away(&self, away: bool) {
        let mut shard = PgConnection::connect(&self.shard).await.unwrap();
        let (from, to) = if away {
            ("stream_events", "gone")
        } else {
            ("gone", "stream_events")
        };
        let renamed = format!("ALTER VIEW {from} RENAME TO {to}");
        sqlx::query(&renamed).execute(&mut shard).await.unwrap();
    }
}

async fn migrated(database: migrations::Database) -> String {
    let url = local_postgres::testing::fresh_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    migrations::migrate(database, &mut connection).await.unwrap();
    url
}

fn order_id() -> OrderId {
    OrderId(ORDER.parse().unwrap())
}

fn text(text: &str) -> Text {
    Text::new(text.to_owned()).unwrap()
}

fn place(word: &str) -> OrderCommand {
    let personal = |what: &str| Some(Personal::plain("customer/ada", text(&format!("{what} {word}"))));
    let placed_at: Timestamp = "2026-01-31T23:30:00Z".parse().unwrap();
    let item = |line: &str, product: Option<&str>, quantity| PricedItem {
        line_id: line.parse().unwrap(),
        product_id: product.map(|id| id.parse().unwrap()),
        catalogue_version: None,
        name: text(&format!("Item {line}")),
        quantity,
        unit_price: Amount(250),
        modifiers: vec![Modifier {
            modifier_id: product.map(|_| "oat".parse().unwrap()),
            name: text("Oat milk"),
            price: Amount(50),
        }],
        note: personal("line"),
    };
    OrderCommand::Place(Box::new(PlaceOrder {
        order_id: order_id(),
        establishment_id: "main".parse().unwrap(),
        terms: Terms {
            kind: serde_json::from_value(json!("restaurant")).unwrap(),
            time_zone: serde_json::from_value(json!("Europe/Rome")).unwrap(),
            currency: "EUR".parse().unwrap(),
            tax: serde_json::from_value(json!({"mode": "inclusive", "rate_ppm": 100_000})).unwrap(),
        },
        placed_at,
        received_at: placed_at,
        service_type: ServiceType::DineIn,
        table_id: Some("t4".parse().unwrap()),
        reference: Some(text("R-1")),
        channel: Some(text("pos")),
        customer: Some(Customer {
            customer_id: Some("ada".parse().unwrap()),
            name: personal("Ada"),
            contact: personal("+49"),
        }),
        note: personal("note"),
        items: vec![item("1", Some("espresso"), 2), item("2", None, 1)],
    }))
}

#[tokio::test]
async fn given_a_version_or_a_time_then_the_order_and_its_timeline_are_as_they_were() {
    let log = Log::start().await;
    log.live_a_life("dev", "plain").await;
    let mut recorded = Vec::new();
    for (version, status) in [(1, "PLACED"), (2, "ACCEPTED"), (3, "CANCELLED")] {
        let order = log.order("dev", &format!(", atVersion: {version}")).await;
        assert_eq!((&order["status"], &order["version"]), (&json!(status), &json!(version)));
        let timeline = order["timeline"].as_array().unwrap();
        assert_eq!(timeline.len(), version);
        let last = &timeline[version - 1];
        assert_eq!((&last["sequence"], &last["status"]), (&json!(version), &json!(status)));
        assert_eq!(order["updatedAt"], last["recordedAt"]);
        recorded.push((last["recordedAt"].as_str().unwrap().to_owned(), order));
    }
    for (time, order) in &recorded {
        assert_eq!(
            &log.order("dev", &format!(", asOf: \"{time}\"")).await,
            order,
            "the moment includes it"
        );
    }
    assert_eq!(
        log.order("dev", ", asOf: \"2999-01-01T00:00:00+02:00\"").await,
        recorded[2].1
    );
    assert_eq!(log.order("dev", ", asOf: \"2020-01-01T00:00:00Z\"").await, Value::Null);
    assert_eq!(log.order("dev", ", atVersion: 4").await, Value::Null);

    let first = &recorded[0].1;
    assert_eq!(first["number"], 1);
    assert_eq!(first["businessDate"], "2026-02-01", "on the establishment's calendar");
    assert_eq!(first["total"], json!({"amount": 900, "currency": "EUR"}));
    assert_eq!(first["itemCount"], 3);
    assert_eq!(first["customer"]["name"], "Ada plain");
    assert_eq!(
        first["items"][0]["modifiers"],
        json!([{"key": "oat", "name": "Oat milk", "price": {"amount": 50}}])
    );
    assert_eq!(first["items"][1]["productId"], Value::Null);
    assert_eq!(first["timeline"][0]["actor"], "waiter");
    assert_eq!(recorded[2].1["timeline"][2]["reason"], "CUSTOMER");
}

#[tokio::test]
async fn given_variables_that_are_null_then_the_present_is_read() {
    let log = Log::start().await;
    let mut row = OrderRow::new("dev", 1);
    row.id = ORDER.parse::<Uuid>().unwrap();
    row.status = "ready".to_owned();
    row.insert(&log.world).await;
    log.live_a_life("dev", "plain").await;
    let query = format!("query($at: Int) {{ order(id: \"{ORDER}\", atVersion: $at) {{ status }} }}");
    let token = log.world.token("dev");
    for (at, status) in [(Value::Null, "READY"), (json!(2), "ACCEPTED")] {
        let body = json!({"query": query, "variables": {"at": at}});
        assert_eq!(
            send(&log.router, post(&token, &body)).await.data()["order"]["status"],
            status
        );
    }
    // Both in one request.
    let both = format!(
        "{{ now: order(id: \"{ORDER}\") {{ status }} then: order(id: \"{ORDER}\", atVersion: 1) {{ status }} }}"
    );
    let data = send(&log.router, post(&token, &json!({ "query": both }))).await.data();
    assert_eq!(data, json!({"now": {"status": "READY"}, "then": {"status": "PLACED"}}));
}

#[tokio::test]
async fn given_another_tenant_or_establishment_then_the_past_is_not_shown() {
    const CANARY: &str = "canary4711";
    let log = Log::start().await;
    log.live_a_life("dev", CANARY).await;
    let limited = log
        .world
        .token_for("dev", Some(&["side"]), &[service::Scope::OrdersRead]);
    let allowed = log
        .world
        .token_for("dev", Some(&["main"]), &[service::Scope::OrdersRead]);
    for arguments in [", atVersion: 1", ", atVersion: 9", ", asOf: \"2999-01-01T00:00:00Z\""] {
        for token in [log.world.token("stranger"), limited.clone()] {
            let answer = log.ask(&token, arguments).await;
            assert_eq!(answer.data()["order"], Value::Null);
            assert!(!answer.text.contains(CANARY), "{}", answer.text);
        }
    }
    assert!(log.ask(&allowed, ", atVersion: 1").await.text.contains(CANARY));
    let refused = log
        .ask(
            &log.world.token_for("dev", None, &[service::Scope::EventsRead]),
            ", atVersion: 1",
        )
        .await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn given_moments_that_make_no_sense_then_the_field_is_refused() {
    let log = Log::start().await;
    for arguments in [
        ", atVersion: 0",
        ", atVersion: -1",
        ", atVersion: 1, asOf: \"2026-01-31T00:00:00Z\"",
    ] {
        assert_eq!(
            log.ask(&log.world.token("dev"), arguments).await.code(),
            "BAD_USER_INPUT",
            "{arguments}"
        );
    }
    let unreadable = log.ask(&log.world.token("dev"), ", asOf: \"yesterday\"").await;
    assert_eq!(unreadable.code(), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn given_a_log_that_is_away_then_only_the_past_has_no_answer() {
    let log = Log::start().await;
    let mut row = OrderRow::new("dev", 1);
    row.id = ORDER.parse::<Uuid>().unwrap();
    row.insert(&log.world).await;
    log.live_a_life("dev", "plain").await;
    log.away(true).await;
    let query = format!(
        "{{ now: order(id: \"{ORDER}\") {{ number }} then: order(id: \"{ORDER}\", atVersion: 1) {{ number }} }}"
    );
    let token = log.world.token("dev");
    let answer = send(&log.router, post(&token, &json!({ "query": query }))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.code(), "HISTORY_UNAVAILABLE");
    assert_eq!(answer.json()["data"], json!({"now": {"number": 1}, "then": null}));
    assert!(
        !answer.text.contains("gone") && !answer.text.contains("relation"),
        "{}",
        answer.text
    );
    log.away(false).await;
    assert_eq!(log.order("dev", ", atVersion: 1").await["number"], 1);
}

#[tokio::test]
async fn given_a_log_opened_when_needed_or_none_then_each_answers_what_it_can() {
    let log = Log::start().await;
    log.live_a_life("dev", "plain").await;
    let settings = QuerySettings::default();
    let token = log.world.token("dev");
    let query = json!({"query": format!("{{ order(id: \"{ORDER}\", atVersion: 2) {{ status }} }}")});
    let later = log
        .world
        .api(&settings)
        .with_history(History::opened_when_needed(log.options.clone()));
    let answer = send(&query_api::router(later), post(&token, &query)).await;
    assert_eq!(answer.data()["order"]["status"], "ACCEPTED");
    let answer = send(&log.world.router, post(&token, &query)).await;
    assert_eq!(answer.code(), "HISTORY_UNAVAILABLE");
}

#[tokio::test]
async fn given_the_past_then_its_cost_is_counted() {
    let log = Log::start().await;
    let cost = async |arguments: &str| {
        let answer = log.ask(&log.world.token("dev"), arguments).await;
        answer.json()["extensions"]["cost"]["requested"].as_u64().unwrap()
    };
    assert_eq!(cost(", atVersion: 1").await, cost("").await + 20);
}
