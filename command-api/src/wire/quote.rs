//! An order's price, before there is an order.

use domain::order::{OrderCreated, ServiceType};
use domain::{BusinessDate, EstablishmentId, Money, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::order::ItemView;
use super::schema::{self, Id, Instant, ServiceTypeName};

/// What an order would come to. It has no id, number or version: nothing was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Quote")]
pub(crate) struct QuoteView {
    #[schema(value_type = Id)]
    establishment_id: EstablishmentId,
    /// The day of `placed_at` on the establishment's calendar.
    #[schema(value_type = String, format = Date)]
    business_date: BusinessDate,
    #[schema(value_type = ServiceTypeName)]
    service_type: ServiceType,
    items: Vec<ItemView>,
    /// The sum of the lines.
    #[schema(value_type = schema::Money)]
    subtotal: Money,
    #[schema(value_type = schema::Money)]
    discount: Money,
    /// Contained in the prices or added to them, as the establishment's rule says.
    #[schema(value_type = schema::Money)]
    tax: Money,
    #[schema(value_type = schema::Money)]
    tip: Money,
    #[schema(value_type = schema::Money)]
    total: Money,
    /// The time that it was priced for.
    #[schema(value_type = Instant)]
    placed_at: Timestamp,
}

impl QuoteView {
    pub(crate) fn of(created: &OrderCreated) -> Self {
        let currency = created.terms.currency;
        let money = |amount| Money { amount, currency };
        Self {
            establishment_id: created.establishment_id.clone(),
            business_date: created.business_date,
            service_type: created.service_type,
            items: created.items.iter().map(|item| ItemView::of(item, currency)).collect(),
            subtotal: money(created.totals.subtotal),
            discount: money(created.totals.discount),
            tax: money(created.totals.tax),
            tip: money(created.totals.tip),
            total: money(created.totals.total),
            placed_at: created.placed_at,
        }
    }
}
