//! Sample values shared by the domain's integration tests.

use domain::establishment::{EstablishmentDefined, EstablishmentKind};
use domain::order::{PlaceOrder, PricedItem, ServiceType, Terms};
use domain::{Amount, Currency, EstablishmentId, OrderId, TaxMode, TaxRate, TaxRule, Text, Timestamp};
use uuid::Uuid;

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub(crate) fn text(value: &str) -> Text {
    Text::new(value).expect("a text")
}

pub(crate) fn usd() -> Currency {
    Currency::new("USD").expect("a currency")
}

pub(crate) fn trattoria() -> EstablishmentDefined {
    EstablishmentDefined {
        establishment_id: EstablishmentId::new("trattoria").expect("an id"),
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

pub(crate) fn order_id() -> OrderId {
    OrderId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001))
}

pub(crate) fn item(line: &str, quantity: u32, unit_price: i64) -> PricedItem {
    PricedItem {
        line_id: line.parse().expect("an id"),
        product_id: None,
        catalogue_version: None,
        name: text("Margherita"),
        quantity,
        unit_price: Amount(unit_price),
        modifiers: vec![],
        note: None,
    }
}

pub(crate) fn place(terms: Terms, items: Vec<PricedItem>) -> PlaceOrder {
    PlaceOrder {
        order_id: order_id(),
        establishment_id: EstablishmentId::new("trattoria").expect("an id"),
        terms,
        placed_at: time("2026-03-01T03:30:00Z"),
        received_at: time("2026-03-01T03:30:00Z"),
        service_type: ServiceType::DineIn,
        table_id: None,
        reference: None,
        channel: None,
        customer: None,
        note: None,
        items,
    }
}
