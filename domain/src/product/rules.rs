//! Commands, rules and state of a product.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::event::{ProductAvailabilityChanged, ProductDefined, ProductEvent};
use crate::{ModifierId, MoneyError, ProductId, Refusal};

/// The most modifiers of one product.
pub const MAX_MODIFIERS: usize = 200;

#[derive(Debug, Clone, PartialEq)]
pub enum ProductCommand {
    /// Add the product, or redefine it. Redefining leaves its availability alone.
    Define(Box<ProductDefined>),
    ChangeAvailability {
        product_id: ProductId,
        available: bool,
    },
}

/// A product, or the absence of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Product(Option<Box<ProductState>>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductState {
    pub defined: ProductDefined,
    /// On sale. New products are.
    pub available: bool,
}

/// Why a command to a product is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProductError {
    #[error("the product does not exist")]
    NotFound,
    #[error("the price {0}")]
    Price(MoneyError),
    #[error("the modifier's price {error}")]
    ModifierPrice { index: usize, error: MoneyError },
    #[error("modifier {id} appears twice")]
    DuplicateModifier { index: usize, id: ModifierId },
    #[error("a product has at most {MAX_MODIFIERS} modifiers")]
    TooManyModifiers,
}

impl Refusal for ProductError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "product_not_found",
            Self::Price(_) | Self::ModifierPrice { .. } => "amount_out_of_range",
            Self::DuplicateModifier { .. } => "duplicate_modifier",
            Self::TooManyModifiers => "too_many_modifiers",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::NotFound => None,
            Self::Price(_) => Some("/price/amount".into()),
            Self::ModifierPrice { index, .. } => Some(format!("/modifiers/{index}/price")),
            Self::DuplicateModifier { index, .. } => Some(format!("/modifiers/{index}/id")),
            Self::TooManyModifiers => Some("/modifiers".into()),
        }
    }
}

impl Product {
    /// `None` before the product was defined.
    pub fn state(&self) -> Option<&ProductState> {
        self.0.as_deref()
    }

    /// What the product is after one more event.
    pub fn evolve(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::ProductDefined(defined) => {
                let available = self.0.as_ref().is_none_or(|product| product.available);
                self.0 = Some(Box::new(ProductState {
                    defined: defined.clone(),
                    available,
                }));
            }
            ProductEvent::ProductAvailabilityChanged(changed) => {
                if let Some(product) = &mut self.0 {
                    product.available = changed.available;
                }
            }
        }
    }
}

/// Decides a command. Pure.
///
/// # Errors
/// [`ProductError`] where a rule refuses the command.
pub fn decide(product: &Product, command: ProductCommand) -> Result<Vec<ProductEvent>, ProductError> {
    match command {
        ProductCommand::Define(definition) => {
            check(&definition)?;
            Ok(vec![ProductEvent::ProductDefined(*definition)])
        }
        ProductCommand::ChangeAvailability { product_id, available } => {
            product.state().ok_or(ProductError::NotFound)?;
            Ok(vec![ProductEvent::ProductAvailabilityChanged(
                ProductAvailabilityChanged { product_id, available },
            )])
        }
    }
}

fn check(definition: &ProductDefined) -> Result<(), ProductError> {
    definition.price.amount.checked().map_err(ProductError::Price)?;
    if definition.modifiers.len() > MAX_MODIFIERS {
        return Err(ProductError::TooManyModifiers);
    }
    let mut seen = HashSet::new();
    for (index, modifier) in definition.modifiers.iter().enumerate() {
        modifier
            .price
            .checked()
            .map_err(|error| ProductError::ModifierPrice { index, error })?;
        if !seen.insert(&modifier.id) {
            return Err(ProductError::DuplicateModifier {
                index,
                id: modifier.id.clone(),
            });
        }
    }
    Ok(())
}
