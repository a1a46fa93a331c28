//! Products and establishments as the schema shows them.

use async_graphql::{ID, Object};

use super::connection::Listed;
use super::enums::{EstablishmentKind, TaxMode, stored};
use super::money::Money;
use super::scalars::DateTime;
use super::{int, known, read};
use crate::id::{Kind, global};
use crate::reads::establishments::{EstablishmentKey, EstablishmentRow};
use crate::reads::products::{ProductKey, ProductModifierRow, ProductRow};

type Result<T> = async_graphql::Result<T>;

/// A product of the catalogue.
pub(crate) struct Product(pub(crate) ProductRow);

impl Listed for Product {
    type Key = ProductKey;

    fn list_key(&self) -> ProductKey {
        ProductKey(self.0.product_id.clone())
    }
}

/// A product of the catalogue, as it is offered now.
#[Object]
impl Product {
    /// Global id, for `node` and caches.
    pub(crate) async fn id(&self) -> ID {
        global(Kind::Product, &self.0.product_id)
    }

    /// The REST id.
    async fn key(&self) -> ID {
        ID(self.0.product_id.clone())
    }

    /// The REST id of the one establishment that sells it; null where all of the tenant's do.
    async fn establishment_id(&self) -> Option<ID> {
        self.0.establishment_id.clone().map(ID)
    }

    /// Name.
    async fn name(&self) -> Result<&str> {
        read(&self.0.name).map(String::as_str)
    }

    /// Where it stands on the menu, in the tenant's words.
    async fn category(&self) -> Option<&str> {
        self.0.category.as_deref()
    }

    /// The price of one unit, without modifiers.
    async fn price(&self) -> Result<Money> {
        Ok(Money::new(*read(&self.0.price)?, read(&self.0.currency)?))
    }

    /// Whether it can be ordered.
    async fn available(&self) -> Result<bool> {
        read(&self.0.available).copied()
    }

    /// Extras and options that may be ordered with it.
    async fn modifiers(&self) -> Result<Vec<ProductModifier<'_>>> {
        let currency = read(&self.0.currency)?;
        let modifiers = read(&self.0.modifiers)?.iter();
        Ok(modifiers
            .map(|modifier| ProductModifier { modifier, currency })
            .collect())
    }

    /// The number of its events.
    async fn version(&self) -> Result<i32> {
        int(*read(&self.0.version)?)
    }

    /// When its last event was recorded.
    async fn updated_at(&self) -> Result<DateTime> {
        read(&self.0.updated_at).map(|time| (*time).into())
    }
}

/// An extra or option of a product.
pub(crate) struct ProductModifier<'p> {
    modifier: &'p ProductModifierRow,
    currency: &'p str,
}

/// An extra or option of a product.
#[Object]
impl ProductModifier<'_> {
    /// The modifier's REST id.
    async fn key(&self) -> ID {
        ID(self.modifier.id.clone())
    }

    /// Name.
    async fn name(&self) -> &str {
        &self.modifier.name
    }

    /// Its price for each unit of the product.
    async fn price(&self) -> Money {
        Money::new(self.modifier.price, self.currency)
    }
}

/// A place of business.
pub(crate) struct Establishment(pub(crate) EstablishmentRow);

impl Listed for Establishment {
    type Key = EstablishmentKey;

    fn list_key(&self) -> EstablishmentKey {
        EstablishmentKey(self.0.establishment_id.clone())
    }
}

/// A place of business of the tenant, with the terms that new orders are placed under.
#[Object]
impl Establishment {
    /// Global id, for `node` and caches.
    pub(crate) async fn id(&self) -> ID {
        global(Kind::Establishment, &self.0.establishment_id)
    }

    /// The REST id.
    async fn key(&self) -> ID {
        ID(self.0.establishment_id.clone())
    }

    /// Name.
    async fn name(&self) -> Result<&str> {
        read(&self.0.name).map(String::as_str)
    }

    /// IANA time zone; it decides which business date an order belongs to.
    async fn time_zone(&self) -> Result<&str> {
        read(&self.0.time_zone).map(String::as_str)
    }

    /// ISO 4217 code of the currency it sells in; it never changes.
    async fn currency(&self) -> Result<&str> {
        read(&self.0.currency).map(String::as_str)
    }

    /// Whether listed prices contain the tax.
    async fn tax_mode(&self) -> Result<TaxMode> {
        known(stored::<domain::TaxMode>(read(&self.0.tax_mode)?).map(Into::into))
    }

    /// Tax rate in parts per million: 8.875 % is 88750.
    async fn tax_rate_ppm(&self) -> Result<i32> {
        read(&self.0.tax_rate_ppm).copied()
    }

    /// What kind of business it is.
    async fn kind(&self) -> Result<EstablishmentKind> {
        known(stored::<domain::establishment::EstablishmentKind>(read(&self.0.kind)?).map(Into::into))
    }

    /// The number of its events.
    async fn version(&self) -> Result<i32> {
        int(*read(&self.0.version)?)
    }

    /// When its last event was recorded.
    async fn updated_at(&self) -> Result<DateTime> {
        read(&self.0.updated_at).map(|time| (*time).into())
    }
}
