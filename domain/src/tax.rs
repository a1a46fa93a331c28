//! How an establishment charges tax, and the exact arithmetic of it.

use serde::{Deserialize, Serialize};

use crate::money::{Amount, MoneyError};

/// Parts per million in one whole: 8.875 % is 88,750.
const PPM: u32 = 1_000_000;

/// A tax rate in parts per million, 0 to 100 %.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(with = "u32", extend("maximum" = PPM))]
#[serde(try_from = "u32", into = "u32")]
pub struct TaxRate(u32);

impl TaxRate {
    /// `None` above 100 %.
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= PPM).then_some(Self(ppm))
    }

    pub fn ppm(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for TaxRate {
    type Error = &'static str;
    fn try_from(ppm: u32) -> Result<Self, Self::Error> {
        Self::from_ppm(ppm).ok_or("a tax rate is at most 1000000 parts per million")
    }
}

impl From<TaxRate> for u32 {
    fn from(rate: TaxRate) -> Self {
        rate.0
    }
}

/// Whether listed prices contain the tax.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaxMode {
    /// Prices contain the tax (most of the world).
    #[default]
    Inclusive,
    /// The tax is added at the end (North America).
    Additive,
}

/// An establishment's tax rule. The default charges none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaxRule {
    pub mode: TaxMode,
    /// Parts per million.
    pub rate_ppm: TaxRate,
}

impl TaxRule {
    /// The tax due on `taxable` (listed prices after discount), rounded half up once per order.
    ///
    /// # Errors
    /// [`MoneyError`] where the result leaves the permitted range.
    pub fn tax_on(self, taxable: Amount) -> Result<Amount, MoneyError> {
        let rate = self.rate_ppm.ppm();
        match self.mode {
            TaxMode::Additive => taxable.scaled(rate, PPM),
            TaxMode::Inclusive => taxable.scaled(rate, PPM + rate),
        }
    }

    /// What the customer pays on top of the listed prices.
    pub fn added(self, tax: Amount) -> Amount {
        match self.mode {
            TaxMode::Additive => tax,
            TaxMode::Inclusive => Amount::ZERO,
        }
    }
}
