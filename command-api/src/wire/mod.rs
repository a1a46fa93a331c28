//! Bodies as they travel. Requests keep text as text so that every fault of a body can be named at
//! once; answers are written from the domain's own types.

mod batch;
mod body;
mod checks;
mod establishment;
mod event;
mod object;
mod order;
mod product;
mod quote;
mod schema;

pub(crate) use batch::{BatchItem, OutcomeList, OutcomeView, PlaceOrdersRequest};
pub(crate) use body::JsonBody;
pub(crate) use establishment::{EstablishmentView, PutEstablishment};
pub(crate) use event::{EventList, EventView};
pub(crate) use order::{ChangeStatusRequest, OrderView, PlaceOrderRequest, RequestedOrder};
pub(crate) use product::{ProductView, PutProduct, SetAvailability};
pub(crate) use quote::QuoteView;
pub(crate) use schema::{Cursor, EventTypeName, Id, Instant, Position};
