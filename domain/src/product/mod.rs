//! A product of a tenant's catalogue.

mod event;
mod rules;

pub use event::{ProductAvailabilityChanged, ProductDefined, ProductEvent, ProductModifier};
pub use rules::{MAX_MODIFIERS, Product, ProductCommand, ProductError, ProductState, decide};
