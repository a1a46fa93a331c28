//! Global ids (Relay) and the REST ids inside them.
//!
//! A global id is the base64 of `Type:key`. Where that text would need no padding a `:` closes it,
//! so every global id ends in `=`, which no REST id may contain: an ID argument that takes either
//! can always tell which one it was given.

use std::fmt::Display;
use std::str::FromStr;

use async_graphql::ID;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Code, Error};

/// What a global id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Order,
    OrderItem,
    Product,
    Establishment,
    Customer,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Order,
        Self::OrderItem,
        Self::Product,
        Self::Establishment,
        Self::Customer,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "Order",
            Self::OrderItem => "OrderItem",
            Self::Product => "Product",
            Self::Establishment => "Establishment",
            Self::Customer => "Customer",
        }
    }
}

/// The global id of `key`.
pub(crate) fn global(kind: Kind, key: impl Display) -> ID {
    let mut text = format!("{}:{key}", kind.as_str());
    if text.len().is_multiple_of(3) {
        text.push(':');
    }
    ID(STANDARD.encode(text))
}

/// The type and key that a global id names.
pub(crate) fn parse_global(id: &ID) -> Result<(Kind, String), Error> {
    decode(id).ok_or_else(|| Error::refused(Code::InvalidId, "This is not a global id (an `id` field of an answer)."))
}

/// The key in an argument that takes a global id of `kind` or a REST id.
pub(crate) fn key<K: FromStr>(kind: Kind, id: &ID) -> Result<K, Error>
where
    K::Err: Display,
{
    let invalid = |reason: &dyn Display| {
        Error::refused(
            Code::InvalidId,
            format!("This is no id of {} {}: it {reason}.", article(kind), kind.as_str()),
        )
    };
    if !id.0.ends_with('=') {
        return id.0.parse().map_err(|reason: K::Err| invalid(&reason));
    }
    match decode(id) {
        Some((named, key)) if named == kind => key.parse().map_err(|reason: K::Err| invalid(&reason)),
        Some((named, _)) => Err(invalid(&format_args!("names {} {}", article(named), named.as_str()))),
        None => Err(invalid(&"is not base64 of a type and a key")),
    }
}

const fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Order | Kind::OrderItem | Kind::Establishment => "an",
        Kind::Product | Kind::Customer => "a",
    }
}

fn decode(id: &ID) -> Option<(Kind, String)> {
    let text = String::from_utf8(STANDARD.decode(&id.0).ok()?).ok()?;
    let (name, key) = text.split_once(':')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name)?;
    let key = key.strip_suffix(':').unwrap_or(key);
    // One spelling per id: whatever else decodes to it is not ours.
    (global(kind, key) == *id).then(|| (kind, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::EstablishmentId;

    fn parse(text: &str) -> Result<EstablishmentId, Error> {
        key(Kind::Establishment, &ID(text.to_owned()))
    }

    #[test]
    fn given_keys_of_any_length_then_the_global_id_ends_in_padding_and_reads_back() {
        for length in 1..=64 {
            let key = "k".repeat(length);
            let id = global(Kind::Establishment, &key);
            assert!(id.0.ends_with('='), "{id:?}");
            assert_eq!(parse(&id.0).unwrap().as_str(), key);
            assert_eq!(parse_global(&id).unwrap(), (Kind::Establishment, key));
        }
    }

    #[test]
    fn given_a_rest_id_that_looks_like_base64_then_it_is_taken_as_it_stands() {
        assert_eq!(parse("RXN0YWJsaXNobWVudDp4").unwrap().as_str(), "RXN0YWJsaXNobWVudDp4");
    }

    #[test]
    fn given_anything_else_then_it_is_refused() {
        let foreign = global(Kind::Product, "x").0;
        for bad in [
            "",
            "a b",
            "=",
            "====",
            "é=",
            "T3JkZXI=",
            &foreign,
            "RXN0YWJsaXNobWVudDo6Og==",
            &"x".repeat(65),
        ] {
            assert!(
                matches!(
                    parse(bad),
                    Err(Error::Refused {
                        code: Code::InvalidId,
                        ..
                    })
                ),
                "{bad}"
            );
        }
    }
}
