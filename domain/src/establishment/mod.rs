//! An establishment: one place of business, with its zone, currency and tax.

mod event;
mod rules;

pub use event::{EstablishmentDefined, EstablishmentEvent};
pub use rules::{Establishment, EstablishmentCommand, EstablishmentError, EstablishmentKind, decide};
