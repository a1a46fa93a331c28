//! What a token may do.

use std::fmt;
use std::str::FromStr;

/// A right, as named in a token's `scope` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read orders, reports, the catalogue.
    OrdersRead,
    /// Place orders and change their status.
    OrdersWrite,
    /// Define establishments and products, and set prices on orders.
    CatalogWrite,
    /// Read the log of events.
    EventsRead,
    /// Operate the platform.
    Ops,
}

/// A name that is no scope of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope; the scopes are orders:read, orders:write, catalog:write, events:read, ops")]
pub struct UnknownScope(pub String);

impl Scope {
    pub const ALL: [Self; 5] = [
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::CatalogWrite,
        Self::EventsRead,
        Self::Ops,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::CatalogWrite => "catalog:write",
            Self::EventsRead => "events:read",
            Self::Ops => "ops",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == name)
            .ok_or_else(|| UnknownScope(name.to_owned()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
