//! One type per id and per counter, so that the compiler tells them apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest textual id, in characters.
pub const MAX_ID_LEN: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("must be 1 to {MAX_ID_LEN} characters of A-Z a-z 0-9 . _ -")]
    Text,
    #[error("must be a UUID")]
    Uuid,
}

fn check(text: &str) -> Result<(), IdError> {
    let ok = (1..=MAX_ID_LEN).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if ok { Ok(()) } else { Err(IdError::Text) }
}

/// A textual id chosen by the client: 1 to 64 of `A-Z a-z 0-9 . _ -` (a UUID fits).
macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[schemars(with = "String", extend("pattern" = "^[A-Za-z0-9._-]{1,64}$"))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// # Errors
            /// [`IdError::Text`] where the text is not a valid id.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_id! {
    /// A restaurant or shop business: the unit of isolation and of sharding.
    TenantId;
    /// One place of business of a tenant.
    EstablishmentId;
    /// A product of a tenant's catalogue.
    ProductId;
    /// A modifier (extra, option) of a product.
    ModifierId;
    /// One line of an order, named so that later additions and voids can refer to it.
    LineId;
    /// A table of an establishment.
    TableId;
    /// A known customer of a tenant.
    CustomerId;
}

/// An order. Minted by the client, or derived from tenant and idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(with = "String", extend("format" = "uuid"))]
#[serde(transparent)]
pub struct OrderId(pub Uuid);

/// The namespace of order ids derived from an idempotency key (UUIDv5). Never changes: a retry
/// years later must still meet the order it first created.
const ORDER_ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_8f0e_5a0b_4d0c_9e39_1b8a_7c53_d201);

impl OrderId {
    /// The order that a create with this idempotency key names, within the tenant.
    pub fn derived(tenant: &TenantId, key: &str) -> Self {
        // A tenant id cannot hold a '/', so no two (tenant, key) pairs share a name.
        Self(Uuid::new_v5(&ORDER_ID_NAMESPACE, format!("{tenant}/{key}").as_bytes()))
    }
}

impl FromStr for OrderId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::try_parse(text).map(Self).map_err(|_| IdError::Uuid)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One stored event; also its CloudEvents `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who issued a command: the `sub` of the token that authorised it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActorId(pub String);

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts events within one stream: 1, 2, 3…; 0 means "no event yet". Also the version in ETags.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[schemars(with = "i64", extend("minimum" = 0))]
#[serde(transparent)]
pub struct Sequence(pub i64);

impl Sequence {
    /// The version of a stream without events.
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An establishment's running number of one business day, as people call it out: 1, 2, 3…
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderNumber(pub i64);

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of aggregate, as stored in `aggregate_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AggregateType {
    Order,
    Product,
    Establishment,
}

impl AggregateType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Product => "product",
            Self::Establishment => "establishment",
        }
    }

    /// The stored name back to the kind; `None` for a kind this binary does not know.
    pub fn from_stored(name: &str) -> Option<Self> {
        [Self::Order, Self::Product, Self::Establishment]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for AggregateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One aggregate's stream of events. The tenant is part of its name, so that no tenant can meet
/// another's stream whatever id it guesses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    kind: AggregateType,
    tenant: TenantId,
    /// `tenant/id`, kept whole because this is what every statement binds.
    aggregate_id: std::sync::Arc<str>,
}

impl StreamId {
    fn new(kind: AggregateType, tenant: &TenantId, id: impl fmt::Display) -> Self {
        Self {
            kind,
            tenant: tenant.clone(),
            aggregate_id: format!("{tenant}/{id}").into(),
        }
    }

    pub fn order(tenant: &TenantId, id: OrderId) -> Self {
        Self::new(AggregateType::Order, tenant, id)
    }

    pub fn product(tenant: &TenantId, id: &ProductId) -> Self {
        Self::new(AggregateType::Product, tenant, id)
    }

    pub fn establishment(tenant: &TenantId, id: &EstablishmentId) -> Self {
        Self::new(AggregateType::Establishment, tenant, id)
    }

    /// Reads back a stored `aggregate_type` and `aggregate_id`.
    pub fn from_stored(aggregate_type: &str, aggregate_id: &str) -> Option<Self> {
        let kind = AggregateType::from_stored(aggregate_type)?;
        let (tenant, id) = aggregate_id.split_once('/')?;
        check(id).ok()?;
        Some(Self {
            kind,
            tenant: TenantId::new(tenant).ok()?,
            aggregate_id: aggregate_id.into(),
        })
    }

    pub fn kind(&self) -> AggregateType {
        self.kind
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The stored `aggregate_id`: `tenant/id`.
    pub fn aggregate_id(&self) -> &str {
        &self.aggregate_id
    }

    /// The id within the tenant.
    pub fn id(&self) -> &str {
        &self.aggregate_id[self.tenant.as_str().len() + 1..]
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.aggregate_id)
    }
}
