//! `POST /v1/orders`

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use domain::order::pricing::{self, CatalogueEntry, Market};
use domain::order::{Order, OrderCommand, PlaceOrder};
use domain::{EstablishmentId, OrderId, ProductId, StreamId, TenantId, Timestamp};
use service::auth::{Principal, Scope};

use super::answer;
use super::caller::Caller;
use super::headers::{self, Precondition};
use crate::CommandApi;
use crate::call::{Call, FiledUnder, Meets, Operation};
use crate::catalogue::{Catalogue, Read};
use crate::error::Error;
use crate::openapi::{CommandHeaders, CommandRefusals, Conflict};
use crate::wire::{JsonBody, OrderView, PlaceOrderRequest, Position, RequestedOrder};

/// Place an order.
///
/// Prices come from the tenant's catalogue; an item may instead carry a name and price of its own
/// (scope `catalog:write`). Send the order's `id`, or an `Idempotency-Key`, and the request can be
/// repeated safely: it is answered as it was the first time, with `Idempotent-Replayed: true`.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "Orders",
    params(CommandHeaders),
    request_body = PlaceOrderRequest,
    responses(
        (status = 201, description = "The order was placed.", body = OrderView, headers(
            ("Location" = String, description = "Where the order is read."),
            ("ETag" = String, description = "The order's version."),
            ("Comanda-Position" = Position, description = "Send it with a read that must include this order."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` on a repeated answer."),
        )),
        CommandRefusals,
        Conflict,
    ),
    security(("bearer" = ["orders:write"])),
)]
pub(crate) async fn place_order(
    State(api): State<CommandApi>,
    caller: Caller,
    body: JsonBody,
) -> Result<Response, Error> {
    caller.principal.require(Scope::OrdersWrite)?;
    let tenant = caller.tenant();
    let key = headers::idempotency_key(&caller.headers)?;
    let (request, fingerprint) = body.parse::<PlaceOrderRequest>()?;
    let named = request.names_id() || key.is_some();
    let unnamed = || OrderId(service::edge::fresh_id());
    let otherwise = key
        .as_ref()
        .map_or_else(unnamed, |key| OrderId::derived(tenant, key.as_str()));
    let order = request.into_domain(otherwise)?;
    let establishment_id = permitted(&caller.principal, &order)?;

    let received_at = service::edge::now();
    let placed_at = order.placed_at.unwrap_or(received_at);
    let call = Call {
        filed_under: FiledUnder::Stated(Some(establishment_id.clone())),
        precondition: Precondition::default(),
        occurred_at: placed_at,
        ..Call::of(
            &caller,
            Operation::CreateOrder,
            StreamId::order(tenant, order.order_id),
            Meets::Nothing { named },
            fingerprint,
        )?
    };
    let times = Times { placed_at, received_at };
    let command = price_honestly(&api.catalogue, tenant, &establishment_id, &order, times, caller.read()?).await;
    let done = api.executor.execute::<Order>(&call, command).await?;

    let mut response = answer::of_command(
        StatusCode::CREATED,
        &done,
        OrderView::of(&done.aggregate, &done.history),
    )?;
    let location = HeaderValue::try_from(format!("/v1/orders/{}", order.order_id));
    response
        .headers_mut()
        .extend(location.ok().map(|value| (header::LOCATION, value)));
    Ok(response)
}

#[derive(Clone, Copy)]
struct Times {
    placed_at: Timestamp,
    received_at: Timestamp,
}

/// Where the order is placed, once the token was found to reach it and whatever else is asked.
fn permitted(principal: &Principal, order: &RequestedOrder) -> Result<EstablishmentId, Error> {
    let named = order
        .establishment_id
        .as_ref()
        .or_else(|| principal.only_establishment());
    let establishment_id = named.cloned().ok_or(Error::EstablishmentRequired)?;
    principal.require_establishment(&establishment_id)?;
    if order.items.iter().any(pricing::RequestedItem::sets_own_price) {
        principal.require(Scope::CatalogWrite)?;
    }
    Ok(establishment_id)
}

/// The order with its items priced. Where the kept catalogue refuses, the log has the last word: it
/// may know a product that was defined a moment ago in another process.
async fn price_honestly(
    catalogue: &Catalogue,
    tenant: &TenantId,
    establishment_id: &EstablishmentId,
    order: &RequestedOrder,
    times: Times,
    read: Read,
) -> Result<OrderCommand, Error> {
    match price(catalogue, tenant, establishment_id, order, times, read).await {
        Err(refusal) if read == Read::Cached && refusal.is_judgement() => {
            price(catalogue, tenant, establishment_id, order, times, Read::Log).await
        }
        settled => settled,
    }
}

async fn price(
    catalogue: &Catalogue,
    tenant: &TenantId,
    establishment_id: &EstablishmentId,
    order: &RequestedOrder,
    times: Times,
    read: Read,
) -> Result<OrderCommand, Error> {
    let establishment = catalogue.establishment(tenant, establishment_id, read).await?;
    let unknown = || Error::UnknownEstablishment(establishment_id.clone());
    let establishment = establishment.aggregate.state().ok_or_else(unknown)?;
    let wanted = order.items.iter().filter(|item| item.unit_price.is_none());
    let products = catalogue
        .products(tenant, wanted.filter_map(|item| item.product_id.as_ref()), read)
        .await?;
    let market = Market {
        establishment_id,
        currency: establishment.currency,
    };
    let look_up = |id: &ProductId| {
        let known = products.get(id)?;
        let (product, version) = (known.aggregate.state()?, known.version);
        Some(CatalogueEntry { product, version })
    };
    let items = pricing::price(order.items.clone(), market, look_up).map_err(Error::Pricing)?;
    Ok(OrderCommand::Place(Box::new(PlaceOrder {
        order_id: order.order_id,
        establishment_id: establishment_id.clone(),
        terms: establishment.terms(),
        placed_at: times.placed_at,
        received_at: times.received_at,
        service_type: order.service_type,
        table_id: order.table_id.clone(),
        reference: order.reference.clone(),
        channel: order.channel.clone(),
        customer: order.customer.clone(),
        note: order.note.clone(),
        items,
    })))
}
