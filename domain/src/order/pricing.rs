//! From what a client asks for to lines with a settled name and price.
//!
//! Prices come from the catalogue. An item with its own name and price is *open*: imports and
//! devices with a menu of their own send such; whether a client may is for its caller to check
//! ([`RequestedItem::sets_own_price`]).

use super::command::PricedItem;
use super::event::Modifier;
use crate::product::ProductState;
use crate::{
    Amount, Currency, EstablishmentId, LineId, ModifierId, Money, Personal, ProductId, Refusal, Sequence, Text,
};

/// A line as a client asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestedItem {
    pub line_id: Option<LineId>,
    pub product_id: Option<ProductId>,
    /// On open items, together with `unit_price`.
    pub name: Option<Text>,
    pub unit_price: Option<Money>,
    pub quantity: u32,
    pub modifiers: Vec<RequestedModifier>,
    pub note: Option<Personal>,
}

/// A modifier as a client asks for it: one of the product's by id, or its own by name.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestedModifier {
    pub id: Option<ModifierId>,
    pub name: Option<Text>,
    pub price: Option<Money>,
}

impl RequestedItem {
    /// Whether any price on the line is the client's own.
    pub fn sets_own_price(&self) -> bool {
        self.unit_price.is_some() || self.modifiers.iter().any(|modifier| modifier.price.is_some())
    }
}

/// A product as the catalogue knows it, with the version that it stands at.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueEntry<'a> {
    pub product: &'a ProductState,
    pub version: Sequence,
}

/// Why an item cannot be priced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct PricingError {
    /// Which item, from 0.
    pub index: usize,
    pub problem: PricingProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PricingProblem {
    #[error("an item needs a product_id, or a name and a unit_price")]
    NothingNamed,
    #[error("an open item needs both a name and a unit_price")]
    IncompleteOpenItem,
    #[error("product {0} does not exist")]
    UnknownProduct(ProductId),
    #[error("product {0} is not available")]
    Unavailable(ProductId),
    #[error("product {0} is not sold at this establishment")]
    NotSoldHere(ProductId),
    #[error("the price is in {found}, the establishment's currency is {expected}")]
    Currency { found: Currency, expected: Currency },
    #[error("modifier {1} is not one of product {0}")]
    UnknownModifier(ProductId, ModifierId),
    #[error("a modifier needs an id of its product, or a name")]
    UnnamedModifier,
}

impl Refusal for PricingError {
    fn code(&self) -> &'static str {
        match self.problem {
            PricingProblem::NothingNamed | PricingProblem::IncompleteOpenItem | PricingProblem::UnnamedModifier => {
                "incomplete_item"
            }
            PricingProblem::UnknownProduct(_) => "unknown_product",
            PricingProblem::Unavailable(_) => "product_unavailable",
            PricingProblem::NotSoldHere(_) => "product_not_sold_here",
            PricingProblem::Currency { .. } => "currency_mismatch",
            PricingProblem::UnknownModifier(..) => "unknown_modifier",
        }
    }

    fn pointer(&self) -> Option<String> {
        let index = self.index;
        Some(match self.problem {
            PricingProblem::NothingNamed | PricingProblem::IncompleteOpenItem => format!("/items/{index}"),
            PricingProblem::UnknownProduct(_) | PricingProblem::Unavailable(_) | PricingProblem::NotSoldHere(_) => {
                format!("/items/{index}/product_id")
            }
            PricingProblem::Currency { .. } => format!("/items/{index}/unit_price"),
            PricingProblem::UnknownModifier(..) | PricingProblem::UnnamedModifier => {
                format!("/items/{index}/modifiers")
            }
        })
    }
}

/// Where an order is placed, as far as prices depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Market<'a> {
    pub establishment_id: &'a EstablishmentId,
    pub currency: Currency,
}

/// Settles name and price of every item, or says of each that cannot be priced why.
///
/// `catalogue` looks a product up; lines without an id are named by their place: `1`, `2`…
///
/// # Errors
/// Every item's [`PricingError`], in order.
pub fn price<'a>(
    items: Vec<RequestedItem>,
    market: Market<'_>,
    catalogue: impl Fn(&ProductId) -> Option<CatalogueEntry<'a>>,
) -> Result<Vec<PricedItem>, Vec<PricingError>> {
    let mut priced = Vec::with_capacity(items.len());
    let mut errors = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match price_item(index, item, market, &catalogue) {
            Ok(item) => priced.push(item),
            Err(problem) => errors.push(PricingError { index, problem }),
        }
    }
    if errors.is_empty() { Ok(priced) } else { Err(errors) }
}

fn price_item<'a>(
    index: usize,
    item: RequestedItem,
    market: Market<'_>,
    catalogue: &impl Fn(&ProductId) -> Option<CatalogueEntry<'a>>,
) -> Result<PricedItem, PricingProblem> {
    let settled = match (item.name, item.unit_price, &item.product_id) {
        (Some(name), Some(price), _) => Settled {
            name,
            unit_price: in_currency(price, market.currency)?,
            entry: None,
        },
        (None, None, Some(product_id)) => from_catalogue(product_id, market, catalogue)?,
        (None, None, None) => return Err(PricingProblem::NothingNamed),
        (Some(_), None, _) | (None, Some(_), _) => return Err(PricingProblem::IncompleteOpenItem),
    };
    let product = settled.entry.map(|entry| entry.product);
    let modifiers = item
        .modifiers
        .into_iter()
        .map(|modifier| price_modifier(modifier, product, market.currency))
        .collect::<Result<_, _>>()?;
    Ok(PricedItem {
        line_id: item.line_id.unwrap_or_else(|| line_id_at(index)),
        product_id: item.product_id,
        catalogue_version: settled.entry.map(|entry| entry.version),
        name: settled.name,
        quantity: item.quantity,
        unit_price: settled.unit_price,
        modifiers,
        note: item.note,
    })
}

struct Settled<'a> {
    name: Text,
    unit_price: Amount,
    entry: Option<CatalogueEntry<'a>>,
}

fn from_catalogue<'a>(
    product_id: &ProductId,
    market: Market<'_>,
    catalogue: &impl Fn(&ProductId) -> Option<CatalogueEntry<'a>>,
) -> Result<Settled<'a>, PricingProblem> {
    let entry = catalogue(product_id).ok_or_else(|| PricingProblem::UnknownProduct(product_id.clone()))?;
    let product = entry.product;
    if product
        .defined
        .establishment_id
        .as_ref()
        .is_some_and(|only| only != market.establishment_id)
    {
        return Err(PricingProblem::NotSoldHere(product_id.clone()));
    }
    if !product.available {
        return Err(PricingProblem::Unavailable(product_id.clone()));
    }
    Ok(Settled {
        name: product.defined.name.clone(),
        unit_price: in_currency(product.defined.price, market.currency)?,
        entry: Some(entry),
    })
}

fn price_modifier(
    modifier: RequestedModifier,
    product: Option<&ProductState>,
    currency: Currency,
) -> Result<Modifier, PricingProblem> {
    if let (Some(id), Some(product), None, None) = (&modifier.id, product, &modifier.name, modifier.price) {
        let known = product.defined.modifiers.iter().find(|known| known.id == *id);
        let known =
            known.ok_or_else(|| PricingProblem::UnknownModifier(product.defined.product_id.clone(), id.clone()))?;
        return Ok(Modifier {
            modifier_id: modifier.id,
            name: known.name.clone(),
            price: known.price,
        });
    }
    let name = modifier.name.ok_or(PricingProblem::UnnamedModifier)?;
    let price = modifier
        .price
        .map_or(Ok(Amount::ZERO), |price| in_currency(price, currency))?;
    Ok(Modifier {
        modifier_id: modifier.id,
        name,
        price,
    })
}

fn in_currency(price: Money, expected: Currency) -> Result<Amount, PricingProblem> {
    if price.currency != expected {
        return Err(PricingProblem::Currency {
            found: price.currency,
            expected,
        });
    }
    Ok(price.amount)
}

fn line_id_at(index: usize) -> LineId {
    LineId::new(&(index + 1).to_string()).unwrap_or_else(|_| unreachable!("digits form an id"))
}
