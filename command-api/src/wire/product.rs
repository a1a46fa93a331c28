//! Products: how they are defined and how they are shown.

use domain::product::{Product, ProductDefined, ProductModifier};
use domain::{EstablishmentId, ModifierId, Money, ProductId, Sequence, Text};
use serde::{Deserialize, Serialize};
use service::problem::Problem;
use utoipa::ToSchema;

use super::checks::{Checks, incomplete};
use super::object::objects_only;
use super::schema::{self, FreeText, Id};
use crate::openapi::examples;

objects_only!(PutProduct, PutModifier, SetAvailability);

/// A product's whole definition. Its availability is a matter of its own and stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = examples::put_product)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PutProduct {
    #[schema(value_type = FreeText)]
    name: String,
    price: schema::Money,
    /// Where it is sold; everywhere when left out.
    #[schema(value_type = Option<Id>)]
    establishment_id: Option<String>,
    #[schema(value_type = Option<FreeText>)]
    category: Option<String>,
    /// Extras and options that may be ordered with it.
    #[serde(default)]
    #[schema(max_items = 200)]
    modifiers: Vec<PutModifier>,
}

/// An extra or option, priced in the product's currency.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PutProductModifier")]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PutModifier {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = FreeText)]
    name: String,
    /// Of one unit.
    price: schema::Money,
}

/// Puts a product on or off sale.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "SetAvailability", example = examples::set_availability)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct SetAvailability {
    pub available: bool,
}

impl PutProduct {
    /// # Errors
    /// 422 naming every fault.
    pub(crate) fn into_domain(self, product_id: ProductId) -> Result<ProductDefined, Problem> {
        let mut checks = Checks::default();
        let name = checks.text("/name", self.name);
        let price = checks.money("/price", &self.price);
        let establishment_id = checks.parse_optional("/establishment_id", self.establishment_id.as_deref());
        let category = checks.optional_text("/category", self.category);
        let modifiers: Vec<_> = (self.modifiers.into_iter().enumerate())
            .filter_map(|(index, modifier)| modifier.check(&mut checks, &format!("/modifiers/{index}"), price))
            .collect();
        checks.finish()?;
        let (Some(name), Some(price)) = (name, price) else {
            return Err(incomplete());
        };
        Ok(ProductDefined {
            product_id,
            name,
            price,
            establishment_id,
            category,
            modifiers,
        })
    }
}

impl PutModifier {
    fn check(self, checks: &mut Checks, pointer: &str, product: Option<Money>) -> Option<ProductModifier> {
        let id = checks.parse::<ModifierId>(format!("{pointer}/id"), &self.id);
        let name = checks.text(format!("{pointer}/name"), self.name);
        let price = checks.money(&format!("{pointer}/price"), &self.price)?;
        if let Some(product) = product
            && product.currency != price.currency
        {
            checks.note(
                format!("{pointer}/price/currency"),
                format!("must be the product's currency, {}", product.currency),
            );
        }
        Some(ProductModifier {
            id: id?,
            name: name?,
            price: price.amount,
        })
    }
}

/// A product as it stands at one version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Product", as = Product, example = examples::product)]
pub(crate) struct ProductView {
    #[schema(value_type = Id)]
    id: ProductId,
    #[schema(value_type = FreeText)]
    name: Text,
    #[schema(value_type = schema::Money)]
    price: Money,
    #[schema(value_type = Option<Id>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    establishment_id: Option<EstablishmentId>,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    modifiers: Vec<ProductModifierView>,
    /// On sale.
    available: bool,
    /// Counts the product's changes; also its `ETag`.
    #[schema(value_type = i64, minimum = 1)]
    version: Sequence,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "ProductModifier", as = ProductModifier)]
pub(crate) struct ProductModifierView {
    #[schema(value_type = Id)]
    id: ModifierId,
    #[schema(value_type = FreeText)]
    name: Text,
    /// Of one unit.
    #[schema(value_type = schema::Money)]
    price: Money,
}

impl ProductView {
    pub(crate) fn of(product: &Product, version: Sequence) -> Option<Self> {
        let state = product.state()?;
        let currency = state.defined.price.currency;
        let modifier = |modifier: &ProductModifier| ProductModifierView {
            id: modifier.id.clone(),
            name: modifier.name.clone(),
            price: Money {
                amount: modifier.price,
                currency,
            },
        };
        Some(Self {
            id: state.defined.product_id.clone(),
            name: state.defined.name.clone(),
            price: state.defined.price,
            establishment_id: state.defined.establishment_id.clone(),
            category: state.defined.category.clone(),
            modifiers: state.defined.modifiers.iter().map(modifier).collect(),
            available: state.available,
            version,
        })
    }
}
