//! The status machine of an order. REST, GraphQL and the documentation derive from [`TRANSITIONS`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::establishment::EstablishmentKind;

macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in REST, in events and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    format!("must be one of {}", names.join(", "))
                })
            }
        }
    };
}

named_enum! {
    /// Where an order stands.
    OrderStatus {
        Placed = "placed",
        Accepted = "accepted",
        Preparing = "preparing",
        Ready = "ready",
        OutForDelivery = "out_for_delivery",
        Completed = "completed",
        Rejected = "rejected",
        Cancelled = "cancelled",
    }
}

named_enum! {
    /// Why an order was rejected, cancelled or recalled.
    Reason {
        Customer = "customer",
        Inventory = "inventory",
        TooBusy = "too_busy",
        Closed = "closed",
        Duplicate = "duplicate",
        NoShow = "no_show",
        Fraud = "fraud",
        Declined = "declined",
        Other = "other",
    }
}

/// What a transition asks for beyond its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    /// A recall takes the kitchen's finished work back, so it must say why.
    ReasonRequired,
    /// Shops have nothing to prepare.
    RetailOnly,
}

/// One permitted change of status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub from: OrderStatus,
    pub to: OrderStatus,
    pub condition: Condition,
}

const fn permit(from: OrderStatus, to: OrderStatus, condition: Condition) -> Transition {
    Transition { from, to, condition }
}

/// Every permitted change of status. Whatever is not listed is refused.
pub const TRANSITIONS: &[Transition] = {
    use Condition::{None, ReasonRequired, RetailOnly};
    use OrderStatus::{Accepted, Cancelled, Completed, OutForDelivery, Placed, Preparing, Ready, Rejected};
    &[
        permit(Placed, Accepted, None),
        permit(Placed, Rejected, None),
        permit(Placed, Cancelled, None),
        permit(Accepted, Preparing, None),
        permit(Accepted, Ready, RetailOnly),
        permit(Accepted, Cancelled, None),
        permit(Preparing, Ready, None),
        permit(Preparing, Cancelled, None),
        permit(Ready, OutForDelivery, None),
        permit(Ready, Completed, None),
        permit(Ready, Preparing, ReasonRequired),
        permit(Ready, Cancelled, None),
        permit(OutForDelivery, Completed, None),
    ]
};

impl OrderStatus {
    /// The transitions open from here to an order of this kind of establishment.
    pub fn transitions(self, kind: EstablishmentKind) -> impl Iterator<Item = &'static Transition> {
        TRANSITIONS.iter().filter(move |transition| {
            transition.from == self
                && (transition.condition != Condition::RetailOnly || kind == EstablishmentKind::Retail)
        })
    }

    /// The statuses open from here, as a refusal lists them.
    pub fn allowed(self, kind: EstablishmentKind) -> Vec<Self> {
        self.transitions(kind).map(|transition| transition.to).collect()
    }

    /// Nothing follows: completed, rejected, cancelled.
    pub fn is_terminal(self) -> bool {
        TRANSITIONS.iter().all(|transition| transition.from != self)
    }

    /// Whether the order counts as a sale: everything not rejected or cancelled.
    pub fn counts_as_sale(self) -> bool {
        match self {
            Self::Rejected | Self::Cancelled => false,
            Self::Placed | Self::Accepted | Self::Preparing | Self::Ready | Self::OutForDelivery | Self::Completed => {
                true
            }
        }
    }
}
