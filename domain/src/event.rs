//! Every event of the platform, for readers that follow the whole log.

use cqrs_es::DomainEvent;
use serde_json::Value;

use crate::establishment::EstablishmentEvent;
use crate::order::OrderEvent;
use crate::product::ProductEvent;
use crate::upcast;
use crate::{BusinessDate, EstablishmentId};

/// The name of an event, as stored in `event_type` and published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    OrderCreated,
    OrderStatusChanged,
    ProductDefined,
    ProductAvailabilityChanged,
    EstablishmentDefined,
}

impl EventType {
    pub const ALL: [Self; 5] = [
        Self::OrderCreated,
        Self::OrderStatusChanged,
        Self::ProductDefined,
        Self::ProductAvailabilityChanged,
        Self::EstablishmentDefined,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "OrderCreated",
            Self::OrderStatusChanged => "OrderStatusChanged",
            Self::ProductDefined => "ProductDefined",
            Self::ProductAvailabilityChanged => "ProductAvailabilityChanged",
            Self::EstablishmentDefined => "EstablishmentDefined",
        }
    }

    /// The payload version that this binary writes and upcasts to.
    pub const fn version(self) -> &'static str {
        match self {
            Self::OrderCreated
            | Self::OrderStatusChanged
            | Self::ProductDefined
            | Self::ProductAvailabilityChanged
            | Self::EstablishmentDefined => "1.0",
        }
    }

    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The counter that an order number is drawn from: one per establishment and business day.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Numbering {
    pub establishment_id: EstablishmentId,
    pub business_date: BusinessDate,
}

/// What the event store needs to know of an event beyond its payload.
pub trait StoredEvent: DomainEvent {
    /// The counter to draw an order number from, on events that start a numbered stream.
    fn numbering(&self) -> Option<Numbering>;
}

/// Any stored event, decoded and upcast.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Order(OrderEvent),
    Product(ProductEvent),
    Establishment(EstablishmentEvent),
}

/// Why a stored event cannot be understood. The two cases call for opposite reactions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a later binary: stop and upgrade; skipping it would be silently wrong.
    #[error("event {event_type} version {version} is newer than this binary understands")]
    Newer { event_type: String, version: String },
    /// A known event whose payload does not have its shape: poison, confined to its stream.
    #[error("event {event_type} version {version} is malformed: {reason}")]
    Malformed {
        event_type: String,
        version: String,
        reason: String,
    },
}

impl Event {
    /// Decodes a stored payload, upcasting older versions first.
    ///
    /// # Errors
    /// [`DecodeError`] where the type or version is unknown, or the payload malformed.
    pub fn decode(event_type: &str, version: &str, payload: Value) -> Result<Self, DecodeError> {
        let newer = || DecodeError::Newer {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
        };
        let kind = EventType::from_stored(event_type).ok_or_else(newer)?;
        if upcast::is_newer(version, kind.version()) {
            return Err(newer());
        }
        let payload = upcast::to_current(kind, version, payload);
        let decoded = match kind {
            EventType::OrderCreated | EventType::OrderStatusChanged => serde_json::from_value(payload).map(Self::Order),
            EventType::ProductDefined | EventType::ProductAvailabilityChanged => {
                serde_json::from_value(payload).map(Self::Product)
            }
            EventType::EstablishmentDefined => serde_json::from_value(payload).map(Self::Establishment),
        };
        decoded.map_err(|error| DecodeError::Malformed {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
            reason: error.to_string(),
        })
    }

    pub fn event_type(&self) -> EventType {
        match self {
            Self::Order(event) => event.kind(),
            Self::Product(event) => event.kind(),
            Self::Establishment(event) => event.kind(),
        }
    }
}
