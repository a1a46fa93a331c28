//! A small platform: a log on two shards, a projector, and tenants with a week of orders.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cqrs_es::DomainEvent;
use domain::establishment::{EstablishmentDefined, EstablishmentEvent, EstablishmentKind};
use domain::order::{
    ChangeStatus, Customer, Modifier, Order, OrderCommand, OrderStatus, PlaceOrder, PricedItem, Reason, ServiceType,
    decide,
};
use domain::product::{ProductAvailabilityChanged, ProductDefined, ProductEvent, ProductModifier};
use domain::{
    Amount, Currency, EventId, Metadata, Money, OrderId, Personal, ProductId, Sequence, StoredEvent, StreamId, TaxMode,
    TaxRate, TaxRule, TenantId, Text, Timestamp, metadata,
};
use event_store::{Append, EventStore, NewEvent, Options, ShardId, ShardOptions};
use projector::{Projector, ShardLog};
use serde::Serialize;
use serde_json::value::RawValue;
use service::Shutdown;
use service::settings::ProjectorSettings;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;
use verify::{Report, Scope, Target};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) store: EventStore,
    pub(crate) read_store: PgPool,
    orders: HashMap<StreamId, Order>,
    sequences: HashMap<StreamId, i64>,
    minted: u128,
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("an id")
}

fn text(value: &str) -> Text {
    Text::new(value).expect("a text")
}

fn time(value: &str) -> Timestamp {
    value.parse().expect("a time")
}

fn usd() -> Currency {
    Currency::new("USD").expect("a currency")
}

async fn migrated(database: migrations::Database) -> String {
    let url = local_postgres::testing::fresh_database().await;
    let mut connection = PgConnection::connect(&url).await.expect("the database answers");
    migrations::migrate(database, &mut connection).await.expect("migrated");
    url
}

/// What an order is made of.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) establishment: &'static str,
    pub(crate) customer: Option<&'static str>,
    pub(crate) placed_at: &'static str,
    /// Quantity and unit price.
    pub(crate) items: Vec<(u32, i64)>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let control = migrated(migrations::Database::Control).await;
        let mut shards = vec![];
        for id in 0..2 {
            let url = migrated(migrations::Database::EventStore).await;
            shards.push(ShardOptions { id: ShardId(id), url });
        }
        let mut connection = PgConnection::connect(&control).await.expect("the database answers");
        event_store::bootstrap(&mut connection, &shards)
            .await
            .expect("slots are given out");
        let options = Options {
            shards,
            ..Options::default()
        };
        let url = migrated(migrations::Database::ReadStore).await;
        let read_store = PgPoolOptions::new().max_connections(8).connect(&url).await;
        let read_store = read_store.expect("the read store answers");
        projector::ensure_generations(&read_store).await.expect("generations");
        Self {
            store: EventStore::connect(options).await.expect("connected"),
            read_store,
            orders: HashMap::new(),
            sequences: HashMap::new(),
            minted: 0,
        }
    }

    pub(crate) async fn place(&mut self, tenant: &TenantId, sample: &Sample) -> StreamId {
        self.minted += 1;
        let id = OrderId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + self.minted));
        let stream = StreamId::order(tenant, id);
        assert!(self.order(&stream, placing(id, sample)).await, "the order is accepted");
        stream
    }

    /// Whether the change was accepted.
    pub(crate) async fn change(&mut self, stream: &StreamId, to: OrderStatus) -> bool {
        let at = time("2026-03-08T09:00:00Z");
        let reason = Some(Reason::Customer);
        self.order(stream, OrderCommand::ChangeStatus(ChangeStatus { to, reason, at }))
            .await
    }

    async fn order(&mut self, stream: &StreamId, command: OrderCommand) -> bool {
        let order = self.orders.entry(stream.clone()).or_default();
        let Ok(events) = decide(order, command) else {
            return false;
        };
        events.iter().for_each(|event| order.evolve(event));
        for event in events {
            self.append(stream, &event).await;
        }
        true
    }

    pub(crate) async fn define_product(&mut self, tenant: &TenantId, id: &str, price: i64) {
        let product_id = ProductId::new(id).expect("an id");
        let stream = StreamId::product(tenant, &product_id);
        let defined = ProductDefined {
            product_id,
            name: text(&format!("Product {id}")),
            price: Money {
                amount: Amount(price),
                currency: usd(),
            },
            establishment_id: None,
            category: Some(text("Drinks")),
            modifiers: vec![ProductModifier {
                id: "extra".parse().expect("an id"),
                name: text("Extra"),
                price: Amount(75),
            }],
        };
        self.append(&stream, &ProductEvent::ProductDefined(defined)).await;
    }

    pub(crate) async fn change_availability(&mut self, tenant: &TenantId, id: &str, available: bool) {
        let product_id = ProductId::new(id).expect("an id");
        let stream = StreamId::product(tenant, &product_id);
        let changed = ProductAvailabilityChanged { product_id, available };
        self.append(&stream, &ProductEvent::ProductAvailabilityChanged(changed))
            .await;
    }

    pub(crate) async fn define_establishment(&mut self, tenant: &TenantId, id: &str, name: &str) {
        let defined = EstablishmentDefined {
            name: text(name),
            ..establishment(id)
        };
        let stream = StreamId::establishment(tenant, &defined.establishment_id);
        self.append(&stream, &EstablishmentEvent::EstablishmentDefined(defined))
            .await;
    }

    async fn append<E: StoredEvent + DomainEvent + Serialize>(&mut self, stream: &StreamId, event: &E) {
        let payload = serde_json::to_string(event).expect("serialises");
        let (kind, version) = (event.event_type(), event.event_version());
        self.append_raw(stream, &kind, &version, payload, event.numbering())
            .await;
    }

    /// An event that no code can read.
    pub(crate) async fn poison(&mut self, stream: &StreamId) {
        let malformed = r#"{"type":"OrderStatusChanged","to":17}"#.to_owned();
        self.append_raw(stream, "OrderStatusChanged", "1.0", malformed, None)
            .await;
    }

    async fn append_raw(
        &mut self,
        stream: &StreamId,
        event_type: &str,
        event_version: &str,
        payload: String,
        numbering: Option<domain::Numbering>,
    ) {
        let sequence = self.sequences.entry(stream.clone()).or_default();
        self.minted += 1;
        let append = Append {
            stream: stream.clone(),
            expected: Sequence(*sequence),
            numbering,
            events: vec![NewEvent {
                event_id: EventId(Uuid::from_u128(self.minted)),
                event_type: event_type.to_owned(),
                event_version: event_version.to_owned(),
                payload: RawValue::from_string(payload).expect("JSON"),
                metadata: Metadata::from([(metadata::key::ACTOR.to_owned(), "waiter".to_owned())]),
            }],
        };
        *sequence += 1;
        self.store.append(append).await.expect("appended");
    }

    pub(crate) fn log(&self) -> ShardLog {
        ShardLog::new(self.store.clone(), ShardId(0))
    }

    /// Has a projector apply everything that is in the log, and stops it.
    pub(crate) async fn project(&self) {
        let settings = ProjectorSettings::default();
        let projector = Projector::new(self.store.clone(), self.read_store.clone(), settings);
        let shutdown = Shutdown::new();
        let (this, stop) = (projector.clone(), shutdown.clone());
        shutdown.spawn("projector", async move { this.run(stop).await.expect("runs") });
        let (mut look, give_up) = (
            tokio::time::interval(Duration::from_millis(20)),
            Instant::now() + PATIENCE,
        );
        while self.behind().await > 0 {
            assert!(Instant::now() < give_up, "the projector never catches up");
            look.tick().await;
        }
        shutdown.trigger();
        assert!(shutdown.wait(PATIENCE).await.is_clean());
    }

    async fn behind(&self) -> usize {
        let rows: Vec<(String, i32, i64)> =
            sqlx::query_as("SELECT read_model, slot, slot_position FROM meta.checkpoints")
                .fetch_all(&self.read_store)
                .await
                .expect("checkpoints");
        let mut heads = HashMap::new();
        for shard in self.store.shards() {
            for head in self.store.heads(shard).await.expect("heads") {
                heads.insert(i32::from(head.slot.0), head.slot_position.0);
            }
        }
        let head = |slot: &i32| heads.get(slot).copied().unwrap_or_default();
        rows.iter().filter(|(_, slot, at)| *at < head(slot)).count()
    }

    /// A bit of everything: two establishments' products and orders in every state.
    pub(crate) async fn week(&mut self, tenant: &TenantId) -> Vec<StreamId> {
        use OrderStatus::{Accepted, Cancelled, Completed, Preparing, Ready, Rejected};
        self.define_establishment(tenant, "main", "Trattoria").await;
        self.define_establishment(tenant, "bar", "Bar").await;
        self.define_product(tenant, "tea", 300).await;
        self.define_product(tenant, "cake", 550).await;
        self.change_availability(tenant, "tea", false).await;
        self.define_product(tenant, "cake", 575).await;
        self.define_establishment(tenant, "main", "Trattoria da Enzo").await;
        let walks: [&[OrderStatus]; 6] = [
            &[Accepted, Preparing, Ready, Completed],
            &[],
            &[Cancelled],
            &[Accepted, Preparing],
            &[Rejected],
            &[Accepted, Preparing, Ready, Preparing, Ready],
        ];
        let mut orders = vec![];
        for (nth, walk) in walks.iter().enumerate() {
            let customers = [Some("giulia"), Some("giulia"), Some("marco"), None];
            let days = ["2026-03-01T12:00:00Z", "2026-03-01T20:00:00Z", "2026-03-02T15:00:00Z"];
            let sample = Sample {
                establishment: if nth == 5 { "bar" } else { "main" },
                customer: customers[nth % 4],
                placed_at: days[nth / 2],
                items: (0..=nth as i64 % 3)
                    .map(|line| (1 + line as u32, 500 + 10 * line))
                    .collect(),
            };
            let stream = self.place(tenant, &sample).await;
            for to in *walk {
                assert!(self.change(&stream, *to).await, "{to}");
            }
            orders.push(stream);
        }
        orders
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let done = sqlx::query(sql).execute(&self.read_store).await;
        let done = done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(done.rows_affected() > 0, "nothing was changed: {sql}");
    }

    pub(crate) async fn verify(&self, scope: &Scope) -> Report {
        let targets = Target::served(&self.read_store).await.expect("targets");
        assert_eq!(targets.len(), 5);
        verify::run(&self.store, &self.read_store, &targets, scope)
            .await
            .expect("verified")
    }
}

fn establishment(id: &str) -> EstablishmentDefined {
    EstablishmentDefined {
        establishment_id: id.parse().expect("an id"),
        name: text("Trattoria"),
        time_zone: "America/New_York".parse().expect("a zone"),
        currency: usd(),
        tax: TaxRule {
            mode: TaxMode::Additive,
            rate_ppm: TaxRate::from_ppm(88_750).expect("a rate"),
        },
        kind: EstablishmentKind::Restaurant,
    }
}

fn placing(order_id: OrderId, sample: &Sample) -> OrderCommand {
    let subject = format!("order/{order_id}");
    let item = |(index, (quantity, unit_price)): (usize, &(u32, i64))| PricedItem {
        line_id: format!("line-{index}").parse().expect("an id"),
        product_id: (index % 2 == 0).then(|| "tea".parse().expect("an id")),
        catalogue_version: None,
        name: text("Tea, \"green\""),
        quantity: *quantity,
        unit_price: Amount(*unit_price),
        modifiers: vec![Modifier {
            modifier_id: (index == 0).then(|| "extra".parse().expect("an id")),
            name: text("Lemon"),
            price: Amount(25),
        }],
        note: (index == 0).then(|| Personal::plain(&subject, text("hot"))),
    };
    let customer = |id: &str| Customer {
        customer_id: Some(id.parse().expect("an id")),
        name: Some(Personal::plain(&format!("customer/{id}"), text("Giulia Bianchi"))),
        contact: Some(Personal::plain(&format!("customer/{id}"), text("+39 06 1234"))),
    };
    let definition = establishment(sample.establishment);
    let placed_at = time(sample.placed_at);
    OrderCommand::Place(Box::new(PlaceOrder {
        order_id,
        establishment_id: definition.establishment_id.clone(),
        terms: definition.terms(),
        placed_at,
        received_at: placed_at,
        service_type: ServiceType::DineIn,
        table_id: sample.customer.is_none().then(|| "T1".parse().expect("an id")),
        reference: Some(text(&format!("R-{}", order_id.0.as_u128() % 1_000))),
        channel: Some(text("pos")),
        customer: sample.customer.map(customer),
        note: Some(Personal::plain(&subject, text("no onions\n– please"))),
        items: sample.items.iter().enumerate().map(item).collect(),
    }))
}
