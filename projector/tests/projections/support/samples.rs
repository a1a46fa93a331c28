//! A small world: tenants, their establishments and products, and orders moving through it.

use std::collections::HashMap;

use domain::establishment::{EstablishmentDefined, EstablishmentEvent, EstablishmentKind};
use domain::order::{
    ChangeStatus, Customer, Modifier, Order, OrderCommand, OrderEvent, OrderStatus, PlaceOrder, PricedItem, Reason,
    ServiceType, decide,
};
use domain::product::{Product, ProductCommand, ProductDefined, ProductModifier, decide as decide_product};
use domain::{
    Amount, Currency, EstablishmentId, Money, OrderId, Personal, ProductId, StreamId, TaxMode, TaxRate, TaxRule,
    TenantId, Text, Timestamp,
};
use event_store::RecordedEvent;
use uuid::Uuid;

use super::log::MemoryLog;

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("an id")
}

pub(crate) fn text(value: &str) -> Text {
    Text::new(value).expect("a text")
}

pub(crate) fn time(value: &str) -> Timestamp {
    value.parse().expect("a time")
}

/// What an order is made of in these tests.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) establishment: &'static str,
    pub(crate) customer: Option<&'static str>,
    pub(crate) placed_at: &'static str,
    /// Quantity and unit price.
    pub(crate) items: Vec<(u32, i64)>,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            establishment: "trattoria",
            customer: None,
            placed_at: "2026-03-01T12:00:00Z",
            items: vec![(2, 950)],
        }
    }
}

/// Runs commands against a log, as the command side does.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) log: MemoryLog,
    orders: HashMap<StreamId, Order>,
    products: HashMap<StreamId, Product>,
    minted: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        self.log.events()
    }

    pub(crate) fn place(&mut self, tenant: &TenantId, sample: &Sample) -> StreamId {
        self.minted += 1;
        let order_id = OrderId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + self.minted));
        let stream = StreamId::order(tenant, order_id);
        let command = OrderCommand::Place(Box::new(placing(order_id, sample)));
        assert!(self.order(&stream, command), "the order is accepted");
        stream
    }

    /// Whether the change was accepted.
    pub(crate) fn change(&mut self, stream: &StreamId, to: OrderStatus, reason: Option<Reason>) -> bool {
        let at = time("2026-03-08T09:00:00Z");
        self.order(stream, OrderCommand::ChangeStatus(ChangeStatus { to, reason, at }))
    }

    fn order(&mut self, stream: &StreamId, command: OrderCommand) -> bool {
        let order = self.orders.entry(stream.clone()).or_default();
        let Ok(events) = decide(order, command) else {
            return false;
        };
        for event in events {
            order.evolve(&event);
            match &event {
                OrderEvent::OrderCreated(created) => {
                    let counter = format!(
                        "{}/{}/{}",
                        stream.tenant(),
                        created.establishment_id,
                        created.business_date
                    );
                    self.log.append_numbered(stream, &event, &counter);
                }
                OrderEvent::OrderStatusChanged(_) => {
                    self.log.append(stream, &event);
                }
            }
        }
        true
    }

    pub(crate) fn define_product(&mut self, tenant: &TenantId, id: &str, price: i64) {
        let definition = product(id, price);
        let stream = StreamId::product(tenant, &definition.product_id);
        self.product(&stream, ProductCommand::Define(Box::new(definition)));
    }

    pub(crate) fn change_availability(&mut self, tenant: &TenantId, id: &str, available: bool) {
        let product_id = ProductId::new(id).expect("an id");
        let stream = StreamId::product(tenant, &product_id);
        self.product(&stream, ProductCommand::ChangeAvailability { product_id, available });
    }

    fn product(&mut self, stream: &StreamId, command: ProductCommand) {
        let product = self.products.entry(stream.clone()).or_default();
        for event in decide_product(product, command).unwrap_or_default() {
            product.evolve(&event);
            self.log.append(stream, &event);
        }
    }

    pub(crate) fn define_establishment(&mut self, tenant: &TenantId, id: &str, name: &str) {
        let defined = EstablishmentDefined {
            name: text(name),
            ..establishment(id)
        };
        let stream = StreamId::establishment(tenant, &defined.establishment_id);
        self.log
            .append(&stream, &EstablishmentEvent::EstablishmentDefined(defined));
    }
}

pub(crate) fn establishment(id: &str) -> EstablishmentDefined {
    EstablishmentDefined {
        establishment_id: EstablishmentId::new(id).expect("an id"),
        name: text("Trattoria"),
        time_zone: "America/New_York".parse().expect("a zone"),
        currency: Currency::new("USD").expect("a currency"),
        tax: TaxRule {
            mode: TaxMode::Additive,
            rate_ppm: TaxRate::from_ppm(88_750).expect("a rate"),
        },
        kind: EstablishmentKind::Restaurant,
    }
}

fn product(id: &str, price: i64) -> ProductDefined {
    ProductDefined {
        product_id: ProductId::new(id).expect("an id"),
        name: text(&format!("Product {id}")),
        price: Money {
            amount: Amount(price),
            currency: Currency::new("USD").expect("a currency"),
        },
        establishment_id: None,
        category: Some(text("Pizza")),
        modifiers: vec![ProductModifier {
            id: "extra".parse().expect("an id"),
            name: text("Extra"),
            price: Amount(75),
        }],
    }
}

fn placing(order_id: OrderId, sample: &Sample) -> PlaceOrder {
    let subject = format!("order/{order_id}");
    let placed_at = time(sample.placed_at);
    let item = |(index, (quantity, unit_price)): (usize, &(u32, i64))| PricedItem {
        line_id: format!("line-{index}").parse().expect("an id"),
        product_id: (index % 2 == 0).then(|| ProductId::new("margherita").expect("an id")),
        catalogue_version: None,
        name: text("Pizza Margherita"),
        quantity: *quantity,
        unit_price: Amount(*unit_price),
        modifiers: vec![Modifier {
            modifier_id: None,
            name: text("Basil"),
            price: Amount(25),
        }],
        note: (index == 0).then(|| Personal::plain(&subject, text("well done"))),
    };
    let customer = |id: &str| Customer {
        customer_id: Some(id.parse().expect("an id")),
        name: Some(Personal::plain(&format!("customer/{id}"), text("Giulia Bianchi"))),
        contact: Some(Personal::plain(&format!("customer/{id}"), text("+39 06 1234"))),
    };
    let definition = establishment(sample.establishment);
    PlaceOrder {
        order_id,
        establishment_id: definition.establishment_id.clone(),
        terms: definition.terms(),
        placed_at,
        received_at: placed_at,
        service_type: ServiceType::DineIn,
        table_id: Some("T1".parse().expect("an id")),
        reference: Some(text(&format!("R-{}", order_id.0.as_u128() % 1_000))),
        channel: Some(text("pos")),
        customer: sample.customer.map(customer),
        note: Some(Personal::plain(&subject, text("no onions"))),
        items: sample.items.iter().enumerate().map(item).collect(),
    }
}

/// A log with a bit of everything, over three tenants.
pub(crate) fn busy_week() -> World {
    let mut world = World::new();
    let tenants = [tenant("roma"), tenant("milano"), tenant("napoli")];
    for (index, tenant) in tenants.iter().enumerate() {
        world.define_establishment(tenant, "trattoria", "Trattoria");
        world.define_product(tenant, "margherita", 950);
        world.define_product(tenant, "marinara", 800);
        let mut orders = vec![];
        for nth in 0..12_i64 {
            let customers = [Some("giulia"), None, Some("marco"), Some("giulia")];
            let days = [
                "2026-03-01T12:00:00Z",
                "2026-03-01T20:00:00Z",
                "2026-03-02T03:59:59Z",
                "2026-03-02T12:00:00Z",
            ];
            orders.push(world.place(
                tenant,
                &Sample {
                    establishment: if nth % 3 == 0 { "bar" } else { "trattoria" },
                    customer: customers[(nth as usize + index) % 4],
                    placed_at: days[nth as usize % 4],
                    items: (0..=nth % 3).map(|line| (1 + line as u32, 500 + 10 * nth)).collect(),
                },
            ));
        }
        world.change_availability(tenant, "margherita", false);
        for (nth, order) in orders.iter().enumerate() {
            for to in walk(nth) {
                assert!(world.change(order, *to, Some(Reason::Customer)), "{to}");
            }
        }
        world.define_product(tenant, "margherita", 990);
        world.define_establishment(tenant, "trattoria", "Trattoria da Enzo");
    }
    world
}

fn walk(nth: usize) -> &'static [OrderStatus] {
    use OrderStatus::{Accepted, Cancelled, Completed, Preparing, Ready, Rejected};
    match nth % 6 {
        0 => &[Accepted, Preparing, Ready, Completed],
        1 => &[Cancelled],
        2 => &[Accepted, Preparing, Ready, Preparing, Ready, Cancelled],
        3 => &[],
        4 => &[Rejected],
        _ => &[Accepted],
    }
}
