//! What happened to a product of the catalogue, as stored.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::{Amount, EstablishmentId, EventType, ModifierId, Money, Numbering, ProductId, StoredEvent, Text};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ProductEvent {
    ProductDefined(ProductDefined),
    ProductAvailabilityChanged(ProductAvailabilityChanged),
}

/// A product was added or redefined; the event carries the whole definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProductDefined {
    pub product_id: ProductId,
    pub name: Text,
    pub price: Money,
    /// Where it is sold; everywhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub establishment_id: Option<EstablishmentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modifiers: Vec<ProductModifier>,
}

/// An extra or option that may be ordered with the product, in the product's currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductModifier {
    pub id: ModifierId,
    pub name: Text,
    /// Per unit.
    pub price: Amount,
}

/// The product went on or off sale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProductAvailabilityChanged {
    pub product_id: ProductId,
    pub available: bool,
}

impl ProductEvent {
    pub fn kind(&self) -> EventType {
        match self {
            Self::ProductDefined(_) => EventType::ProductDefined,
            Self::ProductAvailabilityChanged(_) => EventType::ProductAvailabilityChanged,
        }
    }
}

impl DomainEvent for ProductEvent {
    fn event_type(&self) -> String {
        self.kind().as_str().to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().version().to_owned()
    }
}

impl StoredEvent for ProductEvent {
    fn numbering(&self) -> Option<Numbering> {
        None
    }
}
