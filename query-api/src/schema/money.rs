//! Amounts of money.

use async_graphql::SimpleObject;

use super::scalars::BigInt;

/// An amount of money, exact, in the minor units of its currency.
#[derive(SimpleObject)]
pub(crate) struct Money {
    /// Minor units of the currency: cents for EUR and USD, yen for JPY.
    amount: BigInt,
    /// ISO 4217 code.
    currency: String,
}

impl Money {
    pub(crate) fn new(amount: i64, currency: &str) -> Self {
        Self {
            amount: BigInt(amount),
            currency: currency.to_owned(),
        }
    }
}
