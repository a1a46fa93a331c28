//! What happened to an order, as stored. A payload once stored is readable for ever.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::status::{OrderStatus, Reason};
use crate::establishment::EstablishmentKind;
use crate::{
    Amount, BusinessDate, Currency, CustomerId, EstablishmentId, EventType, LineId, ModifierId, Numbering, OrderId,
    Personal, ProductId, Sequence, StoredEvent, TableId, TaxRule, Text, TimeZone, Timestamp,
};

/// An event of an order. The `type` inside the payload lets stock `postgres-es` read it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum OrderEvent {
    OrderCreated(Box<OrderCreated>),
    OrderStatusChanged(OrderStatusChanged),
}

/// An order was placed, priced and totalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrderCreated {
    pub order_id: OrderId,
    pub establishment_id: EstablishmentId,
    /// The establishment's terms as they stood: later changes of it never move this order.
    pub terms: Terms,
    /// The day of `placed_at` on the establishment's calendar.
    pub business_date: BusinessDate,
    pub placed_at: Timestamp,
    pub service_type: ServiceType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_id: Option<TableId>,
    /// The client's own number, minted where the order number could not be (offline).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Text>,
    /// Where the order came from: `web`, `pos`, `kiosk`, `import`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Personal>,
    pub items: Vec<OrderItem>,
    pub totals: Totals,
}

/// The rules of the establishment that an order was placed under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Terms {
    pub kind: EstablishmentKind,
    pub time_zone: TimeZone,
    pub currency: Currency,
    pub tax: TaxRule,
}

/// How the order reaches the customer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceType {
    #[default]
    DineIn,
    Pickup,
    Delivery,
    Shipment,
}

impl ServiceType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DineIn => "dine_in",
            Self::Pickup => "pickup",
            Self::Delivery => "delivery",
            Self::Shipment => "shipment",
        }
    }
}

/// Who ordered. Guests have no id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Customer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal>,
    /// A phone number or address to reach them by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Personal>,
}

/// One line. All amounts in the order's currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrderItem {
    pub line_id: LineId,
    /// Absent on open items, which the client named and priced itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<ProductId>,
    /// The version of the product that name and price were taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue_version: Option<Sequence>,
    pub name: Text,
    #[schemars(range(min = 1))]
    pub quantity: u32,
    /// Of one unit, without modifiers.
    pub unit_price: Amount,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modifiers: Vec<Modifier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Personal>,
    /// `quantity * (unit_price + modifiers)`.
    pub line_total: Amount,
}

/// An extra or option on a line, per unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Modifier {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier_id: Option<ModifierId>,
    pub name: Text,
    pub price: Amount,
}

/// `total = subtotal - discount + tip`, plus `tax` where the tax is additive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Totals {
    /// The sum of the lines.
    pub subtotal: Amount,
    pub discount: Amount,
    pub tax: Amount,
    pub tip: Amount,
    pub total: Amount,
}

/// The order moved to another status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrderStatusChanged {
    pub order_id: OrderId,
    pub from: OrderStatus,
    pub to: OrderStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    pub changed_at: Timestamp,
}

impl OrderEvent {
    pub fn kind(&self) -> EventType {
        match self {
            Self::OrderCreated(_) => EventType::OrderCreated,
            Self::OrderStatusChanged(_) => EventType::OrderStatusChanged,
        }
    }
}

impl DomainEvent for OrderEvent {
    fn event_type(&self) -> String {
        self.kind().as_str().to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().version().to_owned()
    }
}

impl StoredEvent for OrderEvent {
    fn numbering(&self) -> Option<Numbering> {
        match self {
            Self::OrderCreated(created) => Some(Numbering {
                establishment_id: created.establishment_id.clone(),
                business_date: created.business_date,
            }),
            Self::OrderStatusChanged(_) => None,
        }
    }
}
