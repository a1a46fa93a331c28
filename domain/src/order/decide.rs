//! The rules of an order: a command and the state so far give events, or a refusal.

use std::collections::HashSet;

use super::command::{ChangeStatus, OrderCommand, PlaceOrder, PricedItem};
use super::event::{OrderCreated, OrderEvent, OrderItem, OrderStatusChanged, Totals};
use super::state::{Order, OrderState};
use super::status::{Condition, OrderStatus};
use crate::{Amount, LineId, MoneyError, Refusal, TaxRule, Timestamp};

/// The most lines on one order.
pub const MAX_ITEMS: usize = 500;
/// The most units on one line.
pub const MAX_QUANTITY: u32 = 10_000;
/// How far a device's clock may run ahead of ours.
pub const MAX_CLOCK_AHEAD_SECONDS: i64 = 300;

/// Why a command to an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("the order does not exist")]
    NotFound,
    #[error("the order exists already")]
    AlreadyPlaced,
    #[error("an order needs at least one item")]
    NoItems,
    #[error("an order holds at most {MAX_ITEMS} items")]
    TooManyItems,
    #[error("a quantity is 1 to {MAX_QUANTITY}")]
    Quantity { index: usize },
    #[error("line id {line_id} appears twice")]
    DuplicateLine { index: usize, line_id: LineId },
    #[error("the amount {0}")]
    Amount(MoneyError),
    #[error("placed_at lies more than {MAX_CLOCK_AHEAD_SECONDS} seconds ahead of the server's clock")]
    PlacedInFuture,
    #[error("an order that is {current} cannot become {requested}")]
    IllegalTransition {
        current: OrderStatus,
        requested: OrderStatus,
        allowed: Vec<OrderStatus>,
    },
    #[error("a recall from ready to preparing needs a reason")]
    ReasonRequired,
}

impl Refusal for OrderError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "order_not_found",
            Self::AlreadyPlaced => "order_exists",
            Self::NoItems => "no_items",
            Self::TooManyItems => "too_many_items",
            Self::Quantity { .. } => "invalid_quantity",
            Self::DuplicateLine { .. } => "duplicate_line",
            Self::Amount(_) => "amount_out_of_range",
            Self::PlacedInFuture => "placed_in_future",
            Self::IllegalTransition { .. } => "illegal_transition",
            Self::ReasonRequired => "reason_required",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::NotFound | Self::AlreadyPlaced => None,
            Self::NoItems | Self::TooManyItems | Self::Amount(_) => Some("/items".into()),
            Self::Quantity { index } => Some(format!("/items/{index}/quantity")),
            Self::DuplicateLine { index, .. } => Some(format!("/items/{index}/id")),
            Self::PlacedInFuture => Some("/placed_at".into()),
            Self::IllegalTransition { .. } => Some("/status".into()),
            Self::ReasonRequired => Some("/reason".into()),
        }
    }
}

impl From<MoneyError> for OrderError {
    fn from(error: MoneyError) -> Self {
        Self::Amount(error)
    }
}

/// Decides a command. Pure: the same order and command always give the same answer.
///
/// # Errors
/// [`OrderError`] where a rule refuses the command; nothing has happened then.
pub fn decide(order: &Order, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderError> {
    match command {
        OrderCommand::Place(place) => match order.state() {
            Some(_) => Err(OrderError::AlreadyPlaced),
            None => place_order(*place),
        },
        OrderCommand::ChangeStatus(change) => match order.state() {
            Some(state) => change_status(state, &change),
            None => Err(OrderError::NotFound),
        },
    }
}

fn place_order(place: PlaceOrder) -> Result<Vec<OrderEvent>, OrderError> {
    check_clock(place.placed_at, place.received_at)?;
    check_lines(&place.items)?;
    let items = place
        .items
        .into_iter()
        .map(multiply_out)
        .collect::<Result<Vec<_>, _>>()?;
    let totals = totals(&items, place.terms.tax)?;
    Ok(vec![OrderEvent::OrderCreated(Box::new(OrderCreated {
        order_id: place.order_id,
        establishment_id: place.establishment_id,
        business_date: place.terms.time_zone.date_at(place.placed_at),
        terms: place.terms,
        placed_at: place.placed_at,
        service_type: place.service_type,
        table_id: place.table_id,
        reference: place.reference,
        channel: place.channel,
        customer: place.customer,
        note: place.note,
        items,
        totals,
    }))])
}

fn check_clock(placed_at: Timestamp, received_at: Timestamp) -> Result<(), OrderError> {
    if placed_at > received_at.plus_seconds(MAX_CLOCK_AHEAD_SECONDS) {
        return Err(OrderError::PlacedInFuture);
    }
    Ok(())
}

fn check_lines(items: &[PricedItem]) -> Result<(), OrderError> {
    if items.is_empty() {
        return Err(OrderError::NoItems);
    }
    if items.len() > MAX_ITEMS {
        return Err(OrderError::TooManyItems);
    }
    let mut seen = HashSet::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if !(1..=MAX_QUANTITY).contains(&item.quantity) {
            return Err(OrderError::Quantity { index });
        }
        if !seen.insert(&item.line_id) {
            return Err(OrderError::DuplicateLine {
                index,
                line_id: item.line_id.clone(),
            });
        }
    }
    Ok(())
}

fn multiply_out(item: PricedItem) -> Result<OrderItem, OrderError> {
    let unit_price = item.unit_price.checked()?;
    let with_modifiers = item
        .modifiers
        .iter()
        .try_fold(unit_price, |sum, modifier| sum.plus(modifier.price.checked()?))?;
    Ok(OrderItem {
        line_id: item.line_id,
        product_id: item.product_id,
        catalogue_version: item.catalogue_version,
        name: item.name,
        quantity: item.quantity,
        unit_price,
        modifiers: item.modifiers,
        note: item.note,
        line_total: with_modifiers.times(item.quantity)?,
    })
}

/// The totals of an order, rounded once: tax per order, never per line.
fn totals(items: &[OrderItem], tax_rule: TaxRule) -> Result<Totals, OrderError> {
    let subtotal = Amount::sum(items.iter().map(|item| item.line_total))?;
    let (discount, tip) = (Amount::ZERO, Amount::ZERO);
    let taxable = subtotal.minus(discount)?;
    let tax = tax_rule.tax_on(taxable)?;
    let total = taxable.plus(tax_rule.added(tax))?.plus(tip)?;
    Ok(Totals {
        subtotal,
        discount,
        tax,
        tip,
        total,
    })
}

fn change_status(order: &OrderState, change: &ChangeStatus) -> Result<Vec<OrderEvent>, OrderError> {
    let kind = order.created.terms.kind;
    let Some(transition) = order
        .status
        .transitions(kind)
        .find(|transition| transition.to == change.to)
    else {
        return Err(OrderError::IllegalTransition {
            current: order.status,
            requested: change.to,
            allowed: order.status.allowed(kind),
        });
    };
    if transition.condition == Condition::ReasonRequired && change.reason.is_none() {
        return Err(OrderError::ReasonRequired);
    }
    Ok(vec![OrderEvent::OrderStatusChanged(OrderStatusChanged {
        order_id: order.created.order_id,
        from: order.status,
        to: change.to,
        reason: change.reason,
        changed_at: change.at,
    })])
}
