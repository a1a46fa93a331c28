//! What happened to an establishment, as stored.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::EstablishmentKind;
use crate::{Currency, EstablishmentId, EventType, Numbering, StoredEvent, TaxRule, Text, TimeZone};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EstablishmentEvent {
    EstablishmentDefined(EstablishmentDefined),
}

/// An establishment was opened or redefined; the event carries the whole definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EstablishmentDefined {
    pub establishment_id: EstablishmentId,
    pub name: Text,
    pub time_zone: TimeZone,
    pub currency: Currency,
    pub tax: TaxRule,
    pub kind: EstablishmentKind,
}

impl EstablishmentEvent {
    pub fn kind(&self) -> EventType {
        match self {
            Self::EstablishmentDefined(_) => EventType::EstablishmentDefined,
        }
    }
}

impl DomainEvent for EstablishmentEvent {
    fn event_type(&self) -> String {
        self.kind().as_str().to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().version().to_owned()
    }
}

impl StoredEvent for EstablishmentEvent {
    fn numbering(&self) -> Option<Numbering> {
        None
    }
}
