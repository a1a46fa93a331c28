//! `POST /v1/orders/batch`
//!
//! Each item is a command of its own: accepted, refused and repeated as if it had been sent alone,
//! whatever becomes of the others. They run side by side, so that the log's group commit takes many
//! at once; those that name the same order run one after another, in the order they stand in.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use domain::OrderId;
use event_store::PositionToken;
use futures::stream::{self, StreamExt as _};
use service::auth::{Principal, Scope};
use service::json::{fingerprint, read_json};
use service::problem::Problem;

use super::caller::Caller;
use super::headers::{IdempotencyKey, POSITION};
use crate::CommandApi;
use crate::catalogue::Read;
use crate::error::Error;
use crate::openapi::{CommandRefusals, PositionHeader};
use crate::ordering::WantedOrder;
use crate::wire::{BatchItem, JsonBody, OutcomeList, OutcomeView, PlaceOrdersRequest, Position};

/// Commands of one batch that run at once. As many as a group commit gains from; more would only
/// make other tenants' commands wait.
const AT_ONCE: usize = 64;

/// Place many orders.
///
/// Up to 1,000, each with an `id` or an `idempotency_key`, each accepted or refused by itself: the
/// answer is 200 with an outcome per item, in the items' order. Repeat the whole batch where the
/// outcome is unknown: what was placed is answered as it was the first time. The limit on a body's
/// size counts for the batch as a whole.
#[utoipa::path(
    post,
    path = "/v1/orders/batch",
    tag = "Orders",
    params(PositionHeader),
    request_body = PlaceOrdersRequest,
    responses(
        (status = 200, description = "What became of each order.", body = OutcomeList, headers(
            ("Comanda-Position" = Option<Position>,
             description = "Send it with a read that must include the orders; absent where none was accepted."),
        )),
        CommandRefusals,
    ),
    security(("bearer" = ["orders:write"])),
)]
pub(crate) async fn place_orders(
    State(api): State<CommandApi>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersWrite)?;
    let read = caller.read()?;
    let (request, _) = body.parse::<PlaceOrdersRequest>()?;
    let items = request.into_items()?;

    let wanted = items.into_iter().map(|item| wanted(&caller.principal, item));
    let (queues, mut outcomes) = by_order(wanted);
    let queues = queues.into_values().map(|queue| run(&api, &caller, read, queue));
    let placed: Vec<Vec<Outcome>> = stream::iter(queues).buffer_unordered(AT_ONCE).collect().await;
    outcomes.extend(placed.into_iter().flatten());
    outcomes.sort_unstable_by_key(|outcome| outcome.index);

    let mut headers = HeaderMap::new();
    let positions = outcomes.iter().filter_map(|outcome| outcome.position);
    // All are in the tenant's one slot, so the furthest includes the others.
    let furthest = positions.max_by_key(|token| token.slot_position);
    headers.extend(
        furthest
            .and_then(|token| HeaderValue::try_from(token.to_string()).ok())
            .map(|token| (POSITION, token)),
    );
    let list = OutcomeList::from_iter(outcomes.into_iter().map(|outcome| outcome.view));
    Ok((headers, Json(list)).into_response())
}

/// What became of the item at `index`.
struct Outcome {
    index: usize,
    position: Option<PositionToken>,
    view: OutcomeView,
}

impl Outcome {
    fn refused(index: usize, error: Error) -> Self {
        Self {
            index,
            position: None,
            view: OutcomeView::refused(Problem::from(error)),
        }
    }
}

/// Items to run one after another.
type Queue = Vec<(usize, WantedOrder)>;

/// Reads an item as `POST /v1/orders` reads a request.
fn wanted(principal: &Principal, item: BatchItem) -> Result<WantedOrder, Error> {
    let key = item.idempotency_key.as_deref().map(IdempotencyKey::read).transpose()?;
    let raw = item.order.get().as_bytes();
    let request = read_json::<crate::wire::PlaceOrderRequest>(raw)?;
    if key.is_none() && !request.names_id() {
        return Err(Problem::invalid_body("/id", "is required where there is no `idempotency_key`").into());
    }
    let fingerprint = fingerprint(raw).map_err(Problem::from)?;
    WantedOrder::read(principal, request, key, fingerprint)
}

/// The items by the order that they name, and the outcomes of those that name none.
fn by_order(items: impl Iterator<Item = Result<WantedOrder, Error>>) -> (HashMap<OrderId, Queue>, Vec<Outcome>) {
    let mut queues: HashMap<OrderId, Queue> = HashMap::new();
    let mut refused = Vec::new();
    for (index, item) in items.enumerate() {
        match item {
            Ok(wanted) => queues.entry(wanted.order_id()).or_default().push((index, wanted)),
            Err(error) => refused.push(Outcome::refused(index, error)),
        }
    }
    (queues, refused)
}

async fn run(api: &CommandApi, caller: &Caller, read: Read, queue: Queue) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(queue.len());
    for (index, wanted) in queue {
        let outcome = match wanted.place(api, caller, read).await {
            Ok(done) => OutcomeView::accepted(&done).map(|view| Outcome {
                index,
                position: done.position(),
                view,
            }),
            Err(error) => Err(error),
        };
        outcomes.push(outcome.unwrap_or_else(|error| Outcome::refused(index, error)));
    }
    outcomes
}
