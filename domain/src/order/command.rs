//! What can be asked of an order.

use super::event::{Customer, Modifier, ServiceType, Terms};
use super::status::{OrderStatus, Reason};
use crate::{Amount, EstablishmentId, LineId, OrderId, Personal, ProductId, Sequence, TableId, Text, Timestamp};

#[derive(Debug, Clone, PartialEq)]
pub enum OrderCommand {
    Place(Box<PlaceOrder>),
    ChangeStatus(ChangeStatus),
}

/// Place an order whose items have been priced (see [`super::pricing`]).
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceOrder {
    pub order_id: OrderId,
    pub establishment_id: EstablishmentId,
    /// The establishment's terms as they stand.
    pub terms: Terms,
    /// When it was placed by the device's clock.
    pub placed_at: Timestamp,
    /// When the command arrived, by ours.
    pub received_at: Timestamp,
    pub service_type: ServiceType,
    pub table_id: Option<TableId>,
    pub reference: Option<Text>,
    pub channel: Option<Text>,
    pub customer: Option<Customer>,
    pub note: Option<Personal>,
    pub items: Vec<PricedItem>,
}

/// A line with its name and price settled, not yet multiplied out.
#[derive(Debug, Clone, PartialEq)]
pub struct PricedItem {
    pub line_id: LineId,
    pub product_id: Option<ProductId>,
    pub catalogue_version: Option<Sequence>,
    pub name: Text,
    pub quantity: u32,
    pub unit_price: Amount,
    pub modifiers: Vec<Modifier>,
    pub note: Option<Personal>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ChangeStatus {
    pub to: OrderStatus,
    pub reason: Option<Reason>,
    /// When the status changed.
    pub at: Timestamp,
}
