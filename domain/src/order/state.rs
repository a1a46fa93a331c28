//! An order as its events leave it.

use serde::{Deserialize, Serialize};

use super::event::{OrderCreated, OrderEvent};
use super::status::OrderStatus;
use crate::Timestamp;

/// An order, or the absence of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order(Option<Box<OrderState>>);

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderState {
    pub created: OrderCreated,
    pub status: OrderStatus,
    /// An axis of its own: an order may be completed unpaid, or paid and not yet accepted.
    pub payment: PaymentStatus,
    /// When the last event happened.
    pub updated_at: Timestamp,
}

/// How far an order is paid. No event moves it yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    #[default]
    Unpaid,
}

impl Order {
    /// `None` before the order was placed.
    pub fn state(&self) -> Option<&OrderState> {
        self.0.as_deref()
    }

    /// What the order is after one more event. An event that cannot follow changes nothing: the
    /// log is judged when it is written, never when it is read.
    pub fn evolve(&mut self, event: &OrderEvent) {
        match (event, &mut self.0) {
            (OrderEvent::OrderCreated(created), none @ None) => {
                *none = Some(Box::new(OrderState {
                    status: OrderStatus::Placed,
                    payment: PaymentStatus::default(),
                    updated_at: created.placed_at,
                    created: created.as_ref().clone(),
                }));
            }
            (OrderEvent::OrderStatusChanged(changed), Some(order)) => {
                order.status = changed.to;
                order.updated_at = changed.changed_at;
            }
            (OrderEvent::OrderCreated(_), Some(_)) | (OrderEvent::OrderStatusChanged(_), None) => {}
        }
    }
}
