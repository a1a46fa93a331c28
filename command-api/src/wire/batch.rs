//! Many orders in one request.

use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse as _;
use domain::order::Order;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::problem::Problem;
use utoipa::ToSchema;

use super::object::objects_only;
use super::order::{OrderView, PlaceOrderRequest};
use super::schema::Position;
use crate::error::Error;
use crate::execute::Done;
use crate::openapi::{ProblemDocument, examples};
use crate::ordering::location;

/// Items of a batch, at most.
const MAX_ITEMS: usize = 1_000;

objects_only!(PlaceOrdersRequest, BatchItem);

/// Orders to place, each by itself.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PlaceOrders", example = examples::place_orders)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PlaceOrdersRequest {
    #[schema(min_items = 1, max_items = 1000)]
    orders: Vec<BatchItem>,
}

/// One order of a batch. It has an `id`, or the item an `idempotency_key`, so that it can be
/// repeated safely.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PlaceOrdersItem")]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct BatchItem {
    /// As the header of that name says it of a single order.
    #[schema(min_length = 1, max_length = 255, pattern = r#"^[!#-~]([ !#-~]*[!#-~])?$"#)]
    pub idempotency_key: Option<String>,
    /// As it came, for its fingerprint is what a repeated command is known by.
    #[schema(value_type = PlaceOrderRequest)]
    pub order: Box<RawValue>,
}

impl PlaceOrdersRequest {
    /// # Errors
    /// 422 where there are none, or too many.
    pub(crate) fn into_items(self) -> Result<Vec<BatchItem>, Problem> {
        if (1..=MAX_ITEMS).contains(&self.orders.len()) {
            return Ok(self.orders);
        }
        let fault = format!("must hold 1 to {MAX_ITEMS} orders");
        Err(Problem::invalid_body("/orders", fault))
    }
}

/// What became of each order, in the order they were sent in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Outcomes")]
pub(crate) struct OutcomeList {
    outcomes: Vec<OutcomeView>,
}

impl FromIterator<OutcomeView> for OutcomeList {
    fn from_iter<I: IntoIterator<Item = OutcomeView>>(outcomes: I) -> Self {
        Self {
            outcomes: outcomes.into_iter().collect(),
        }
    }
}

/// What became of one order: `order` where it was accepted, `problem` where it was not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Outcome")]
pub(crate) struct OutcomeView {
    /// What the order sent alone would have been answered with.
    #[schema(minimum = 200, maximum = 599, example = 201)]
    status: u16,
    /// Where the order is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[schema(value_type = Option<Position>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// Whether this is the answer of an earlier attempt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<OrderView>,
    /// Pointers in its `errors` begin at the item's `order`.
    #[schema(value_type = Option<ProblemDocument>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
    /// Seconds after which to try this order again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
}

impl OutcomeView {
    /// # Errors
    /// [`Error::Unexpected`] where what was stored cannot be shown.
    pub(crate) fn accepted(done: &Done<Order>) -> Result<Self, Error> {
        let unreadable = || Error::Unexpected("stored events do not amount to an order".into());
        let order = OrderView::of(&done.aggregate, &done.history).ok_or_else(unreadable)?;
        Ok(Self {
            status: 201,
            location: Some(location(order.id())),
            position: done.position().map(|token| token.to_string()),
            replayed: done.replayed,
            order: Some(order),
            problem: None,
            retry_after: None,
        })
    }

    pub(crate) fn refused(problem: Problem) -> Self {
        let alone = problem.clone().into_response();
        let retry_after = alone.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Self {
            status: problem.status().as_u16(),
            retry_after: retry_after.and_then(|seconds| seconds.parse().ok()),
            location: None,
            position: None,
            replayed: false,
            order: None,
            problem: Some(problem),
        }
    }
}
