//! Schemas of the small values that the domain's types are written as. The domain itself knows
//! nothing of OpenAPI.

use std::borrow::Cow;

use domain::EventType;
use domain::order::{OrderStatus, Reason, ServiceType};
use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::object::objects_only;

objects_only!(Money);

/// An amount of money.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct Money {
    /// Minor units: cents, pence, yen.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64, example = 450)]
    pub amount: i64,
    /// ISO 4217 code.
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    pub currency: String,
}

/// An id chosen by the client.
#[derive(ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "espresso")]
pub(crate) struct Id(#[expect(dead_code, reason = "read by the schema only")] String);

/// Free text: not blank, at most 2,000 characters, without NUL.
#[derive(ToSchema)]
#[schema(min_length = 1, max_length = 2000, pattern = "\\S", example = "no sugar")]
pub(crate) struct FreeText(#[expect(dead_code, reason = "read by the schema only")] String);

/// A point in time: RFC 3339, UTC, to the microsecond.
#[derive(ToSchema)]
#[schema(format = DateTime, example = "2026-01-31T12:00:00.000000Z")]
pub(crate) struct Instant(#[expect(dead_code, reason = "read by the schema only")] String);

/// A position token: how far an answer, or a reader, has got in the tenant's log. Opaque.
#[derive(ToSchema)]
#[schema(max_length = 32, pattern = r"^[0-9]+\.[0-9]+\.[0-9]+$")]
pub(crate) struct Position(#[expect(dead_code, reason = "read by the schema only")] String);

/// A [`Position`], or `now`: the end of the log as it is.
#[derive(ToSchema)]
#[schema(max_length = 32, pattern = r"^([0-9]+\.[0-9]+\.[0-9]+|now)$")]
pub(crate) struct Cursor(#[expect(dead_code, reason = "read by the schema only")] String);

/// An enum of the domain, its values listed by the domain's own table.
macro_rules! names {
    ($($(#[doc = $doc:literal])+ $name:ident = $title:literal: $names:expr;)*) => {$(
        $(#[doc = $doc])+
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let values: Vec<&'static str> = $names;
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .enum_values(Some(values))
                    .description(Some(concat!($($doc),+).trim()))
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($title)
            }
        }
    )*};
}

names! {
    /// Where an order stands.
    OrderStatusName = "OrderStatus": OrderStatus::ALL.iter().map(|status| status.as_str()).collect();
    /// Why an order was rejected, cancelled or recalled.
    ReasonName = "Reason": Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    /// How the order reaches the customer.
    ServiceTypeName = "ServiceType": SERVICE_TYPES.iter().map(|kind| kind.as_str()).collect();
    /// What kind of business an establishment is.
    EstablishmentKindName = "EstablishmentKind": KINDS.iter().map(|kind| kind.as_str()).collect();
    /// The name of an event.
    EventTypeName = "EventType": EventType::ALL.iter().map(|kind| kind.as_str()).collect();
}

const SERVICE_TYPES: [ServiceType; 4] = [
    ServiceType::DineIn,
    ServiceType::Pickup,
    ServiceType::Delivery,
    ServiceType::Shipment,
];

const KINDS: [domain::establishment::EstablishmentKind; 2] = [
    domain::establishment::EstablishmentKind::Restaurant,
    domain::establishment::EstablishmentKind::Retail,
];

/// A UUID, for fields that must be one.
pub(crate) struct UuidText;

impl PartialSchema for UuidText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
            .examples(["0198c0de-0000-7000-8000-000000000001"])
            .into()
    }
}

impl ToSchema for UuidText {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("OrderId")
    }
}
