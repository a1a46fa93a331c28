//! Placing orders: what one request and each of a batch have in common, and what a quote shares
//! with both.
//!
//! A [`WantedOrder`] was read and its rights were judged; placing it prices the items and leaves the
//! rest to [`crate::execute`].

use domain::order::pricing::{self, CatalogueEntry, Market};
use domain::order::{Order, OrderCommand, OrderCreated, OrderEvent, PlaceOrder, decide};
use domain::{EstablishmentId, OrderId, ProductId, StreamId, TenantId, Timestamp};
use service::auth::{Principal, Scope};

use crate::CommandApi;
use crate::call::{Call, FiledUnder, Meets, Operation};
use crate::catalogue::{Catalogue, Read};
use crate::error::Error;
use crate::execute::Done;
use crate::http::caller::Caller;
use crate::http::headers::{IdempotencyKey, Precondition};
use crate::wire::{PlaceOrderRequest, RequestedOrder};

/// An order that a client asks for, with what makes repeating it safe.
#[derive(Debug)]
pub(crate) struct WantedOrder {
    order: RequestedOrder,
    establishment_id: EstablishmentId,
    /// Whether the client could have sent it before.
    named: bool,
    key: Option<IdempotencyKey>,
    fingerprint: String,
}

impl WantedOrder {
    /// # Errors
    /// 422 where the body does not make an order, 403 where the token does not reach it.
    pub(crate) fn read(
        principal: &Principal,
        request: PlaceOrderRequest,
        key: Option<IdempotencyKey>,
        fingerprint: String,
    ) -> Result<Self, Error> {
        let named = request.names_id() || key.is_some();
        let tenant = principal.tenant().tenant();
        let unnamed = || OrderId(service::edge::fresh_id());
        let otherwise = key
            .as_ref()
            .map_or_else(unnamed, |key| OrderId::derived(tenant, key.as_str()));
        let order = request.into_domain(otherwise)?;
        Ok(Self {
            establishment_id: permitted(principal, &order)?,
            order,
            named,
            key,
            fingerprint,
        })
    }

    pub(crate) fn order_id(&self) -> OrderId {
        self.order.order_id
    }

    /// Places it, or finds that it was placed before.
    ///
    /// # Errors
    /// Whatever refuses it.
    pub(crate) async fn place(&self, api: &CommandApi, caller: &Caller, read: Read) -> Result<Done<Order>, Error> {
        let tenant = caller.tenant();
        let times = self.times();
        let call = Call {
            principal: &caller.principal,
            operation: Operation::CreateOrder,
            stream: StreamId::order(tenant, self.order.order_id),
            meets: Meets::Nothing { named: self.named },
            filed_under: FiledUnder::Stated(Some(self.establishment_id.clone())),
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
            precondition: Precondition::default(),
            occurred_at: times.placed_at,
            correlation_id: caller.context.correlation_id(),
        };
        let command = self.price_honestly(&api.catalogue, tenant, times, read).await;
        api.executor.execute::<Order>(&call, command).await
    }

    /// What placing it now would store, and does not.
    ///
    /// # Errors
    /// Whatever would refuse it, but for an order that exists: a quote meets none.
    pub(crate) async fn quote(&self, api: &CommandApi, tenant: &TenantId, read: Read) -> Result<OrderCreated, Error> {
        let command = self.price_honestly(&api.catalogue, tenant, self.times(), read).await?;
        let created = decide(&Order::default(), command)?
            .into_iter()
            .find_map(|event| match event {
                OrderEvent::OrderCreated(created) => Some(*created),
                OrderEvent::OrderStatusChanged(_) => None,
            });
        created.ok_or_else(|| Error::Unexpected("placing an order did not create it".into()))
    }

    fn times(&self) -> Times {
        let received_at = service::edge::now();
        Times {
            placed_at: self.order.placed_at.unwrap_or(received_at),
            received_at,
        }
    }

    /// The order with its items priced. Where the kept catalogue refuses, the log has the last word:
    /// it may know a product that was defined a moment ago in another process.
    async fn price_honestly(
        &self,
        catalogue: &Catalogue,
        tenant: &TenantId,
        times: Times,
        read: Read,
    ) -> Result<OrderCommand, Error> {
        match self.price(catalogue, tenant, times, read).await {
            Err(refusal) if read == Read::Cached && refusal.is_judgement() => {
                self.price(catalogue, tenant, times, Read::Log).await
            }
            settled => settled,
        }
    }

    async fn price(
        &self,
        catalogue: &Catalogue,
        tenant: &TenantId,
        times: Times,
        read: Read,
    ) -> Result<OrderCommand, Error> {
        let (order, establishment_id) = (&self.order, &self.establishment_id);
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
}

/// Where an order is read.
pub(crate) fn location(order: OrderId) -> String {
    format!("/v1/orders/{order}")
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
