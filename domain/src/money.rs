//! Money in integer minor units of an ISO 4217 currency. No floating point anywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an amount or currency is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("is not an ISO 4217 currency code")]
    UnknownCurrency,
    #[error("exceeds the largest amount, {}", Amount::MAX.0)]
    TooLarge,
    #[error("must not be negative")]
    Negative,
}

/// An amount in minor units (cents, pence, yen).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(with = "i64", extend("minimum" = 0, "maximum" = Amount::MAX.0))]
#[serde(transparent)]
pub struct Amount(pub i64);

impl Amount {
    pub const ZERO: Self = Self(0);
    /// 2^53 - 1: the largest integer that every JSON reader keeps exactly.
    pub const MAX: Self = Self(9_007_199_254_740_991);

    fn bounded(value: i128) -> Result<Self, MoneyError> {
        if value > i128::from(Self::MAX.0) {
            return Err(MoneyError::TooLarge);
        }
        if value < 0 {
            return Err(MoneyError::Negative);
        }
        // Within 0..=2^53-1 by the two checks above.
        i64::try_from(value).map(Self).map_err(|_| MoneyError::TooLarge)
    }

    /// # Errors
    /// [`MoneyError`] where the amount is negative or too large to be exact everywhere.
    pub fn checked(self) -> Result<Self, MoneyError> {
        Self::bounded(i128::from(self.0))
    }

    /// # Errors
    /// [`MoneyError`] where the result leaves the permitted range.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        Self::bounded(i128::from(self.0) + i128::from(other.0))
    }

    /// # Errors
    /// [`MoneyError`] where the result leaves the permitted range.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        Self::bounded(i128::from(self.0) - i128::from(other.0))
    }

    /// # Errors
    /// [`MoneyError`] where the result leaves the permitted range.
    pub fn times(self, factor: u32) -> Result<Self, MoneyError> {
        Self::bounded(i128::from(self.0) * i128::from(factor))
    }

    /// `self * numerator / denominator`, exact, rounded half up. `denominator` must be positive.
    ///
    /// # Errors
    /// [`MoneyError`] where the result leaves the permitted range.
    pub fn scaled(self, numerator: u32, denominator: u32) -> Result<Self, MoneyError> {
        let product = i128::from(self.0) * i128::from(numerator);
        let denominator = i128::from(denominator.max(1));
        Self::bounded((2 * product + denominator).div_euclid(2 * denominator))
    }

    /// # Errors
    /// [`MoneyError`] where the sum leaves the permitted range.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An ISO 4217 currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[A-Z]{3}$"))]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] where ISO 4217 has no such code.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        let known = iso_currency::Currency::from_code(code).ok_or(MoneyError::UnknownCurrency)?;
        let letters = known
            .code()
            .as_bytes()
            .try_into()
            .map_err(|_| MoneyError::UnknownCurrency)?;
        Ok(Self(letters))
    }

    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Decimal digits of the minor unit: 2 for USD, 0 for JPY, 3 for KWD.
    pub fn exponent(&self) -> u32 {
        iso_currency::Currency::from_code(self.code())
            .and_then(|known| known.exponent())
            .map_or(0, u32::from)
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Self::new(code)
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(code: String) -> Result<Self, MoneyError> {
        Self::new(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount with its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Minor units.
    pub amount: Amount,
    pub currency: Currency,
}
