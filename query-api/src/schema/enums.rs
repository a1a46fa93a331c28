//! Enumerations, each tied to its counterpart in `domain`: a value added there does not compile
//! until it has one here.

use async_graphql::Enum;

/// Where an order stands. `PLACED → ACCEPTED → PREPARING → READY → (OUT_FOR_DELIVERY →) COMPLETED`;
/// `REJECTED` from `PLACED`; `CANCELLED` until `READY`.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::order::OrderStatus")]
pub(crate) enum OrderStatus {
    /// Received, not yet confirmed by the establishment.
    Placed,
    /// Confirmed by the establishment.
    Accepted,
    /// Being made.
    Preparing,
    /// Waiting to be served, fetched or sent.
    Ready,
    /// On its way to the customer.
    OutForDelivery,
    /// Handed over. Nothing follows.
    Completed,
    /// Refused by the establishment. Nothing follows; does not count as a sale.
    Rejected,
    /// Called off. Nothing follows; does not count as a sale.
    Cancelled,
}

/// Why an order was rejected, cancelled or taken back to be prepared again.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::order::Reason")]
pub(crate) enum OrderReason {
    /// The customer asked for it.
    Customer,
    /// Something ordered is out of stock.
    Inventory,
    /// Too much to do.
    TooBusy,
    /// The establishment is closed.
    Closed,
    /// The same order was placed before.
    Duplicate,
    /// The customer did not come.
    NoShow,
    /// Suspected fraud.
    Fraud,
    /// The payment was declined.
    Declined,
    /// Anything else.
    Other,
}

/// How an order reaches its customer.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::order::ServiceType")]
pub(crate) enum ServiceType {
    /// Served at a table.
    DineIn,
    /// Fetched by the customer.
    Pickup,
    /// Brought by the establishment or its courier.
    Delivery,
    /// Sent by post or carrier.
    Shipment,
}

/// What kind of business an establishment is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::establishment::EstablishmentKind")]
pub(crate) enum EstablishmentKind {
    /// Prepares what it sells.
    Restaurant,
    /// Sells from stock: orders may go from `ACCEPTED` straight to `READY`.
    Retail,
}

/// Whether listed prices contain the tax.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::TaxMode")]
pub(crate) enum TaxMode {
    /// Prices contain the tax.
    Inclusive,
    /// The tax is added at the end.
    Additive,
}

/// Reads a stored name (`snake_case`) as the enumeration it belongs to.
pub(crate) fn stored<D: serde::de::DeserializeOwned>(name: &str) -> Option<D> {
    D::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name)).ok()
}
