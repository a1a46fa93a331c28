//! An order: placed, priced, moved through its statuses.

mod command;
mod decide;
mod event;
pub mod pricing;
mod state;
mod status;

pub use command::{ChangeStatus, OrderCommand, PlaceOrder, PricedItem};
pub use decide::{MAX_CLOCK_AHEAD_SECONDS, MAX_ITEMS, MAX_QUANTITY, OrderError, decide};
pub use event::{
    Customer, Modifier, OrderCreated, OrderEvent, OrderItem, OrderStatusChanged, ServiceType, Terms, Totals,
};
pub use state::{Order, OrderState, PaymentStatus};
pub use status::{Condition, OrderStatus, Reason, TRANSITIONS, Transition};
