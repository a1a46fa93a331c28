//! Prices and quantities as people write them, read exactly: decimals, never floating point.

use domain::{Amount, Currency};
use rust_decimal::Decimal;

/// Why a price or quantity cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PriceError {
    #[error("'{0}' is not a price")]
    NotAPrice(String),
    #[error("'{0}' groups its digits unlike thousands; where the comma marks decimals, give --decimal-comma")]
    Grouping(String),
    #[error("'{0}' is negative")]
    Negative(String),
    #[error("'{text}' has more decimals than {currency} has ({decimals})")]
    TooFine {
        text: String,
        currency: Currency,
        decimals: u32,
    },
    #[error("'{0}' is too large")]
    TooLarge(String),
    #[error("'{text}' is not in {currency}, the establishment's currency")]
    OtherCurrency { text: String, currency: Currency },
    #[error("'{0}' is not a whole number of 1 or more")]
    Quantity(String),
}

/// How the file writes prices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PriceFormat {
    pub(crate) currency: Currency,
    /// `1.234,50` instead of `1,234.50`.
    pub(crate) decimal_comma: bool,
}

impl PriceFormat {
    /// Reads `2.39`, `$2.39 `, `USD 1,234.50`, `1'234.50` into minor units.
    pub(crate) fn parse(&self, text: &str) -> Result<Amount, PriceError> {
        let text = text.trim();
        let not_a_price = || PriceError::NotAPrice(text.to_owned());
        if text.contains(['-', '\u{2212}']) || (text.starts_with('(') && text.ends_with(')')) {
            return Err(PriceError::Negative(text.to_owned()));
        }
        let first = text.find(|c: char| c.is_ascii_digit()).ok_or_else(not_a_price)?;
        let end = text.rfind(|c: char| c.is_ascii_digit()).map_or(first, |last| last + 1);
        // `.50` keeps its point: it belongs to the number, not to the symbol before it.
        let point = if self.decimal_comma { ',' } else { '.' };
        let first = if text[..first].ends_with(point) {
            first - 1
        } else {
            first
        };
        self.check_symbol(text, text[..first].trim())?;
        self.check_symbol(text, text[end..].trim())?;

        let plain = self
            .plain_decimal(&text[first..end])
            .ok_or_else(|| PriceError::Grouping(text.to_owned()))?;
        let too_large = || PriceError::TooLarge(text.to_owned());
        let decimal = Decimal::from_str_exact(&plain).map_err(|_| too_large())?.normalize();
        let decimals = self.currency.exponent();
        if decimal.scale() > decimals {
            return Err(PriceError::TooFine {
                text: text.to_owned(),
                currency: self.currency,
                decimals,
            });
        }
        let minor = decimal
            .checked_mul(Decimal::from(10_u64.pow(decimals)))
            .ok_or_else(too_large)?;
        let minor = i64::try_from(minor.trunc()).map_err(|_| too_large())?;
        Amount(minor).checked().map_err(|_| too_large())
    }

    /// What stands before or after the digits may be a currency symbol or the currency's own code.
    fn check_symbol(&self, text: &str, symbol: &str) -> Result<(), PriceError> {
        let is_code = symbol.len() == 3 && symbol.bytes().all(|b| b.is_ascii_alphabetic());
        if is_code && !symbol.eq_ignore_ascii_case(self.currency.code()) {
            return Err(PriceError::OtherCurrency {
                text: text.to_owned(),
                currency: self.currency,
            });
        }
        // `US$`, `€` and `zł` pass, as do the few that are plain letters; `2x` and `a lot: 3` do not.
        let is_sign = |c: char| c == '$' || (!c.is_ascii() && !c.is_numeric());
        let is_symbol = symbol.is_empty()
            || is_code
            || matches!(symbol, "kr" | "Fr" | "Rs" | "R" | "Ft" | "lei")
            || (symbol.chars().count() <= 3 && symbol.chars().any(is_sign));
        if is_symbol {
            Ok(())
        } else {
            Err(PriceError::NotAPrice(text.to_owned()))
        }
    }

    /// Digits with a decimal point, thousands checked and removed.
    fn plain_decimal(&self, number: &str) -> Option<String> {
        let (point, comma) = if self.decimal_comma { (',', '.') } else { ('.', ',') };
        let (whole, fraction) = match number.rsplit_once(point) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (number, None),
        };
        let is_separator = |c: char| c == comma || matches!(c, '\'' | ' ' | '\u{a0}' | '\u{202f}' | '\u{2019}');
        let groups: Vec<&str> = whole.split(is_separator).collect();
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let grouped =
            groups.len() == 1 || (matches!(groups[0].len(), 1..=3) && groups[1..].iter().all(|group| group.len() == 3));
        let fraction = fraction.unwrap_or("0");
        if !grouped || !groups.iter().all(|group| all_digits(group)) || !all_digits(fraction) || fraction.is_empty() {
            return None;
        }
        let whole = groups.concat();
        Some(format!("{}.{fraction}", if whole.is_empty() { "0" } else { &whole }))
    }
}

/// Reads `2` or `2.0`.
pub(crate) fn parse_quantity(text: &str) -> Result<u32, PriceError> {
    let bad = || PriceError::Quantity(text.trim().to_owned());
    let decimal = Decimal::from_str_exact(text.trim()).map_err(|_| bad())?.normalize();
    if decimal.scale() > 0 {
        return Err(bad());
    }
    u32::try_from(decimal)
        .ok()
        .filter(|quantity| *quantity > 0)
        .ok_or_else(bad)
}

/// A number of units at one price each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priced {
    pub(crate) quantity: u32,
    pub(crate) unit_price: Amount,
}

/// Divides the price of a whole line over its units. Where it does not divide evenly the line
/// becomes two, one minor unit apart, so that their sum is the line's price to the cent.
pub(crate) fn split_line(total: Amount, quantity: u32) -> Vec<Priced> {
    let units = i64::from(quantity.max(1));
    let (low, dearer) = (total.0 / units, total.0 % units);
    // `dearer` is less than `units`, which came from a u32.
    let dearer = u32::try_from(dearer).unwrap_or_default();
    let lines = [
        Priced {
            quantity: dearer,
            unit_price: Amount(low + 1),
        },
        Priced {
            quantity: quantity - dearer,
            unit_price: Amount(low),
        },
    ];
    lines.into_iter().filter(|line| line.quantity > 0).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn format(code: &str) -> PriceFormat {
        PriceFormat {
            currency: Currency::new(code).unwrap(),
            decimal_comma: false,
        }
    }

    fn usd(text: &str) -> Result<i64, PriceError> {
        format("USD").parse(text).map(|amount| amount.0)
    }

    #[test]
    fn given_prices_as_people_write_them_then_minor_units_are_exact() {
        for (text, cents) in [
            ("$2.39 ", 239),
            ("2.39", 239),
            ("2.3", 230),
            ("2", 200),
            (".5", 50),
            ("$.50", 50),
            ("0", 0),
            ("1,234.50", 123_450),
            ("USD 1,234,567.89", 123_456_789),
            ("1'234.50 usd", 123_450),
            ("US$ 16.98", 1698),
            ("2.390000", 239),
            ("\u{20ac}8", 800),
        ] {
            assert_eq!(usd(text), Ok(cents), "{text}");
        }
    }

    #[test]
    fn given_a_currency_without_or_with_three_decimals_then_its_exponent_is_used() {
        assert_eq!(format("JPY").parse("¥1,200"), Ok(Amount(1200)));
        assert_eq!(format("KWD").parse("1.250"), Ok(Amount(1250)));
        assert!(matches!(
            format("JPY").parse("12.50"),
            Err(PriceError::TooFine { decimals: 0, .. })
        ));
    }

    #[test]
    fn given_decimal_commas_then_points_are_thousands() {
        let format = PriceFormat {
            currency: Currency::new("EUR").unwrap(),
            decimal_comma: true,
        };
        assert_eq!(format.parse("1.234,50 €"), Ok(Amount(123_450)));
        assert!(matches!(format.parse("2.39"), Err(PriceError::Grouping(_))));
    }

    #[test]
    fn given_what_is_not_a_price_then_the_reason_is_told() {
        assert!(matches!(usd("free"), Err(PriceError::NotAPrice(_))));
        assert!(matches!(usd(""), Err(PriceError::NotAPrice(_))));
        assert!(matches!(usd("2.39 each"), Err(PriceError::NotAPrice(_))));
        assert!(matches!(usd("-2.39"), Err(PriceError::Negative(_))));
        assert!(matches!(usd("($2.39)"), Err(PriceError::Negative(_))));
        assert!(matches!(usd("2.395"), Err(PriceError::TooFine { .. })));
        assert!(matches!(usd("1,23"), Err(PriceError::Grouping(_))));
        assert!(matches!(usd("1.2.3"), Err(PriceError::Grouping(_))));
        assert!(matches!(usd("EUR 2.39"), Err(PriceError::OtherCurrency { .. })));
        assert!(matches!(usd("99999999999999999"), Err(PriceError::TooLarge(_))));
        assert!(matches!(usd(&"9".repeat(60)), Err(PriceError::TooLarge(_))));
    }

    #[test]
    fn given_quantities_then_only_whole_positive_ones_are_read() {
        assert_eq!(parse_quantity(" 15 "), Ok(15));
        assert_eq!(parse_quantity("2.0"), Ok(2));
        for bad in ["0", "-1", "1.5", "", "two", "99999999999"] {
            assert!(parse_quantity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn given_a_total_that_does_not_divide_then_the_line_is_split_one_cent_apart() {
        assert_eq!(
            split_line(Amount(100), 3),
            [
                Priced {
                    quantity: 1,
                    unit_price: Amount(34)
                },
                Priced {
                    quantity: 2,
                    unit_price: Amount(33)
                }
            ]
        );
        assert_eq!(
            split_line(Amount(4425), 15),
            [Priced {
                quantity: 15,
                unit_price: Amount(295)
            }]
        );
    }

    proptest! {
        #[test]
        fn split_lines_always_sum_to_the_total(total in 0..=Amount::MAX.0, quantity in 1..=u32::MAX) {
            let lines = split_line(Amount(total), quantity);
            let sum: i128 = lines.iter().map(|l| i128::from(l.quantity) * i128::from(l.unit_price.0)).sum();
            prop_assert_eq!(sum, i128::from(total));
            prop_assert_eq!(lines.iter().map(|l| u64::from(l.quantity)).sum::<u64>(), u64::from(quantity));
            prop_assert!(lines.len() <= 2);
        }

        #[test]
        fn a_price_written_out_reads_back(cents in 0..=99_999_999_999_i64) {
            let text = format!("${}.{:02} ", cents / 100, cents % 100);
            prop_assert_eq!(usd(&text), Ok(cents));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC*") {
            let _ = usd(&text);
            let _ = parse_quantity(&text);
        }
    }
}
