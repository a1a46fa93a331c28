//! What analysts ask of payloads most, read without building the whole event.
//!
//! A payload of an older version is brought to today's shape first. One that this program cannot
//! understand yields no fields: it is exported all the same, with its payload as it was stored.

use std::borrow::Cow;
use std::fmt;

use domain::{Event, EventType};
use event_store::RecordedEvent;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// Fields of any payload; those that the event's type does not have are absent.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Fields<'a> {
    #[serde(borrow, default)]
    pub(crate) order_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) business_date: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) service_type: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) channel: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) table_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) customer: Option<Customer<'a>>,
    #[serde(borrow, default)]
    pub(crate) terms: Option<Terms<'a>>,
    #[serde(default)]
    items: Option<Vec<Item>>,
    #[serde(default)]
    pub(crate) totals: Option<Totals>,
    #[serde(borrow, default)]
    pub(crate) from: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) to: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) reason: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) product_id: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub(crate) price: Option<Price<'a>>,
    #[serde(default)]
    pub(crate) available: Option<bool>,
    #[serde(borrow, default)]
    currency: Option<Str<'a>>,
    /// Filled in by the type of the event.
    #[serde(skip)]
    pub(crate) status: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Customer<'a> {
    #[serde(borrow, default)]
    pub(crate) customer_id: Option<Str<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Terms<'a> {
    #[serde(borrow)]
    currency: Str<'a>,
}

#[derive(Debug, Deserialize)]
struct Item {
    quantity: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Totals {
    pub(crate) subtotal: i64,
    pub(crate) discount: i64,
    pub(crate) tax: i64,
    pub(crate) tip: i64,
    pub(crate) total: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Price<'a> {
    pub(crate) amount: i64,
    #[serde(borrow)]
    currency: Str<'a>,
}

/// The event's payload in today's shape; borrowed where that is how it was stored. `None`: not to be
/// understood by this program.
pub(crate) fn today(event: &RecordedEvent) -> Option<(EventType, Cow<'_, str>)> {
    let kind = EventType::from_stored(&event.event_type)?;
    if event.event_version == kind.version() {
        return Some((kind, Cow::Borrowed(event.payload.get())));
    }
    let text = match event.decode().ok()? {
        Event::Order(event) => serde_json::to_string(&event),
        Event::Product(event) => serde_json::to_string(&event),
        Event::Establishment(event) => serde_json::to_string(&event),
    };
    Some((kind, Cow::Owned(text.ok()?)))
}

impl<'a> Fields<'a> {
    pub(crate) fn of(kind: EventType, payload: &'a str) -> Self {
        let mut fields: Self = serde_json::from_str(payload).unwrap_or_default();
        fields.status = match kind {
            // Every order begins there; its first event need not say so.
            EventType::OrderCreated if fields.order_id.is_some() => {
                Some(Cow::Borrowed(domain::order::OrderStatus::Placed.as_str()))
            }
            EventType::OrderStatusChanged => fields.to.as_ref().map(|status| status.0.clone()),
            EventType::OrderCreated
            | EventType::ProductDefined
            | EventType::ProductAvailabilityChanged
            | EventType::EstablishmentDefined => None,
        };
        fields
    }

    /// Of the order, product or establishment.
    pub(crate) fn currency(&self) -> Option<&str> {
        let stated = self.terms.as_ref().map(|terms| &terms.currency);
        let priced = || self.price.as_ref().map(|price| &price.currency);
        stated.or_else(priced).or(self.currency.as_ref()).map(|text| &*text.0)
    }

    /// Units, not lines.
    pub(crate) fn item_count(&self) -> Option<i64> {
        let items = self.items.as_ref()?;
        Some(items.iter().map(|item| i64::from(item.quantity)).sum())
    }
}

/// Text that is borrowed from the payload where it holds no escapes.
#[derive(Debug)]
pub(crate) struct Str<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Str<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
