//! Orders: how they are asked for and how they are shown.

use cqrs_es::EventEnvelope;
use domain::metadata::key;
use domain::order::pricing::{RequestedItem, RequestedModifier};
use domain::order::{Customer, Modifier, Order, OrderItem, OrderState, OrderStatus, Reason, ServiceType};
use domain::{
    Amount, BusinessDate, Currency, CustomerId, EstablishmentId, LineId, ModifierId, Money, OrderId, OrderNumber,
    Personal, ProductId, Sequence, TableId, Text, Timestamp,
};
use serde::{Deserialize, Serialize};
use service::problem::Problem;
use utoipa::ToSchema;

use super::checks::Checks;
use super::object::objects_only;
use super::schema::{self, FreeText, Id, Instant, OrderStatusName, ReasonName, ServiceTypeName, UuidText};
use crate::openapi::examples;

objects_only!(
    PlaceOrderRequest,
    CustomerRequest,
    ItemRequest,
    ModifierRequest,
    ChangeStatusRequest
);

/// An order to place. The smallest is `{"table_id": …, "items": [{"product_id": …, "quantity": …}]}`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PlaceOrder", example = examples::place_order)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct PlaceOrderRequest {
    /// The order's id, where the client mints it; a device without a network can.
    #[schema(value_type = Option<UuidText>)]
    id: Option<String>,
    /// Where it is placed. May be left out where the token names exactly one establishment.
    #[schema(value_type = Option<Id>)]
    establishment_id: Option<String>,
    /// How it reaches the customer; `dine_in` when left out.
    #[schema(value_type = Option<ServiceTypeName>)]
    service_type: Option<ServiceType>,
    #[schema(value_type = Option<Id>)]
    table_id: Option<String>,
    /// The client's own number.
    #[schema(value_type = Option<FreeText>)]
    reference: Option<String>,
    /// Where the order came from: `web`, `pos`, `kiosk`…
    #[schema(value_type = Option<FreeText>)]
    channel: Option<String>,
    customer: Option<CustomerRequest>,
    #[schema(value_type = Option<FreeText>)]
    note: Option<String>,
    /// When it was placed by the device's clock, at most 5 minutes ahead of the server's; now when
    /// left out.
    #[schema(value_type = Option<Instant>)]
    placed_at: Option<String>,
    #[schema(min_items = 1, max_items = 500)]
    items: Vec<ItemRequest>,
}

/// Who orders. Guests have no id.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "OrderCustomer")]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct CustomerRequest {
    #[schema(value_type = Option<Id>)]
    id: Option<String>,
    #[schema(value_type = Option<FreeText>)]
    name: Option<String>,
    /// A phone number or address to reach them by.
    #[schema(value_type = Option<FreeText>)]
    contact: Option<String>,
}

/// One line: a product of the catalogue, or an open item with a `name` and `unit_price` of its own
/// (scope `catalog:write`).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PlaceOrderItem")]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct ItemRequest {
    /// Names the line; its place (`1`, `2`…) when left out.
    #[schema(value_type = Option<Id>)]
    id: Option<String>,
    #[schema(value_type = Option<Id>)]
    product_id: Option<String>,
    #[schema(value_type = Option<FreeText>)]
    name: Option<String>,
    unit_price: Option<schema::Money>,
    #[schema(minimum = 1, maximum = 10_000, example = 2)]
    quantity: u32,
    #[serde(default)]
    modifiers: Vec<ModifierRequest>,
    #[schema(value_type = Option<FreeText>)]
    note: Option<String>,
}

/// An extra or option: one of the product's by `id`, or a `name` with a `price` of its own (scope
/// `catalog:write`).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "PlaceOrderModifier")]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct ModifierRequest {
    #[schema(value_type = Option<Id>)]
    id: Option<String>,
    #[schema(value_type = Option<FreeText>)]
    name: Option<String>,
    price: Option<schema::Money>,
}

/// A valid [`PlaceOrderRequest`] in the domain's terms, not yet priced.
#[derive(Debug, Clone)]
pub(crate) struct RequestedOrder {
    pub order_id: OrderId,
    /// Where the body says it is placed.
    pub establishment_id: Option<EstablishmentId>,
    pub service_type: ServiceType,
    pub table_id: Option<TableId>,
    pub reference: Option<Text>,
    pub channel: Option<Text>,
    pub customer: Option<Customer>,
    pub note: Option<Personal>,
    pub placed_at: Option<Timestamp>,
    pub items: Vec<RequestedItem>,
}

impl PlaceOrderRequest {
    /// Whether the client minted the id itself.
    pub(crate) fn names_id(&self) -> bool {
        self.id.is_some()
    }

    /// The order in the domain's terms; `otherwise` is its id where the body names none.
    ///
    /// # Errors
    /// 422 naming every fault.
    pub(crate) fn into_domain(self, otherwise: OrderId) -> Result<RequestedOrder, Problem> {
        let mut checks = Checks::default();
        let noted = &mut checks;
        let order_id = noted.parse_optional("/id", self.id.as_deref()).unwrap_or(otherwise);
        let guest = format!("order/{order_id}");
        let order = RequestedOrder {
            order_id,
            establishment_id: noted.parse_optional("/establishment_id", self.establishment_id.as_deref()),
            service_type: self.service_type.unwrap_or_default(),
            table_id: noted.parse_optional("/table_id", self.table_id.as_deref()),
            reference: noted.optional_text("/reference", self.reference),
            channel: noted.optional_text("/channel", self.channel),
            note: noted.personal("/note", self.note, &guest),
            placed_at: self.placed_at.and_then(|text| parse_time(noted, "/placed_at", &text)),
            customer: self.customer.map(|customer| customer.check(noted, &guest)),
            items: (self.items.into_iter().enumerate())
                .map(|(index, item)| item.check(noted, &format!("/items/{index}"), &guest))
                .collect(),
        };
        checks.finish()?;
        Ok(order)
    }
}

fn parse_time(checks: &mut Checks, pointer: &str, text: &str) -> Option<Timestamp> {
    let fault = "must be an RFC 3339 time such as 2026-01-31T12:00:00Z";
    checks.keep(pointer, text.parse::<Timestamp>().map_err(|_| fault))
}

impl CustomerRequest {
    /// Personal fields name their subject: the customer, or for a guest the order.
    fn check(self, checks: &mut Checks, guest: &str) -> Customer {
        let customer_id = checks.parse_optional::<CustomerId>("/customer/id", self.id.as_deref());
        let known = customer_id.as_ref().map(|id| format!("customer/{id}"));
        let subject = known.as_deref().unwrap_or(guest);
        Customer {
            name: checks.personal("/customer/name", self.name, subject),
            contact: checks.personal("/customer/contact", self.contact, subject),
            customer_id,
        }
    }
}

impl ItemRequest {
    fn check(self, checks: &mut Checks, pointer: &str, guest: &str) -> RequestedItem {
        let modifiers = self.modifiers.into_iter().enumerate();
        RequestedItem {
            line_id: checks.parse_optional(format!("{pointer}/id"), self.id.as_deref()),
            product_id: checks.parse_optional(format!("{pointer}/product_id"), self.product_id.as_deref()),
            name: checks.optional_text(format!("{pointer}/name"), self.name),
            unit_price: (self.unit_price).and_then(|price| checks.money(&format!("{pointer}/unit_price"), &price)),
            quantity: self.quantity,
            note: checks.personal(format!("{pointer}/note"), self.note, guest),
            modifiers: modifiers
                .map(|(index, modifier)| modifier.check(checks, &format!("{pointer}/modifiers/{index}")))
                .collect(),
        }
    }
}

impl ModifierRequest {
    fn check(self, checks: &mut Checks, pointer: &str) -> RequestedModifier {
        RequestedModifier {
            id: checks.parse_optional(format!("{pointer}/id"), self.id.as_deref()),
            name: checks.optional_text(format!("{pointer}/name"), self.name),
            price: self
                .price
                .and_then(|price| checks.money(&format!("{pointer}/price"), &price)),
        }
    }
}

/// A change of an order's status.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "ChangeOrderStatus", example = examples::change_status)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct ChangeStatusRequest {
    #[schema(value_type = OrderStatusName)]
    pub status: OrderStatus,
    /// Required where a finished order goes back to the kitchen (`ready` to `preparing`).
    #[schema(value_type = Option<ReasonName>)]
    pub reason: Option<Reason>,
}

/// An order as it stands at one version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Order", as = Order, example = examples::order)]
pub(crate) struct OrderView {
    #[schema(value_type = UuidText)]
    id: OrderId,
    /// The establishment's running number of the business day.
    #[schema(value_type = i64, minimum = 1)]
    number: OrderNumber,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<Text>,
    #[schema(value_type = Id)]
    establishment_id: EstablishmentId,
    /// The day of `placed_at` on the establishment's calendar.
    #[schema(value_type = String, format = Date)]
    business_date: BusinessDate,
    #[schema(value_type = OrderStatusName)]
    status: OrderStatus,
    #[schema(value_type = ServiceTypeName)]
    service_type: ServiceType,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Text>,
    #[schema(value_type = Option<Id>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    table_id: Option<TableId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<CustomerView>,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
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
    /// When it was placed by the device's clock.
    #[schema(value_type = Instant)]
    placed_at: Timestamp,
    /// When the log recorded its last change.
    #[schema(value_type = Instant)]
    updated_at: Timestamp,
    /// Counts the order's changes; also its `ETag`.
    #[schema(value_type = i64, minimum = 1)]
    version: Sequence,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "OrderCustomerView")]
pub(crate) struct CustomerView {
    #[schema(value_type = Option<Id>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<CustomerId>,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "OrderItem", as = OrderItem)]
pub(crate) struct ItemView {
    #[schema(value_type = Id)]
    id: LineId,
    #[schema(value_type = Option<Id>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<ProductId>,
    /// The version of the product that the line was priced at.
    #[schema(value_type = Option<i64>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    catalogue_version: Option<Sequence>,
    #[schema(value_type = FreeText)]
    name: Text,
    #[schema(minimum = 1)]
    quantity: u32,
    /// Of one unit, without modifiers.
    #[schema(value_type = schema::Money)]
    unit_price: Money,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    modifiers: Vec<ModifierView>,
    #[schema(value_type = Option<FreeText>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// `quantity * (unit_price + modifiers)`.
    #[schema(value_type = schema::Money)]
    line_total: Money,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "OrderModifier", as = OrderModifier)]
pub(crate) struct ModifierView {
    #[schema(value_type = Option<Id>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<ModifierId>,
    #[schema(value_type = FreeText)]
    name: Text,
    /// Of one unit.
    #[schema(value_type = schema::Money)]
    price: Money,
}

impl OrderView {
    pub(super) fn id(&self) -> OrderId {
        self.id
    }

    /// The order as `history` leaves it. `None` where it was never placed, or where the log has not
    /// numbered it: neither can be stored.
    pub(crate) fn of(order: &Order, history: &[EventEnvelope<Order>]) -> Option<Self> {
        let (first, last) = (history.first()?, history.last()?);
        let number = first.metadata.get(key::NUMBER)?.parse().ok()?;
        let updated_at = last.metadata.get(key::RECORDED_AT)?.parse().ok()?;
        let version = Sequence(i64::try_from(last.sequence).ok()?);
        Some(Self::render(order.state()?, OrderNumber(number), updated_at, version))
    }

    fn render(state: &OrderState, number: OrderNumber, updated_at: Timestamp, version: Sequence) -> Self {
        let created = &state.created;
        let currency = created.terms.currency;
        let money = |amount| Money { amount, currency };
        Self {
            id: created.order_id,
            number,
            reference: created.reference.clone(),
            establishment_id: created.establishment_id.clone(),
            business_date: created.business_date,
            status: state.status,
            service_type: created.service_type,
            channel: created.channel.clone(),
            table_id: created.table_id.clone(),
            customer: created.customer.as_ref().map(CustomerView::of),
            note: readable(created.note.as_ref()),
            items: created.items.iter().map(|item| ItemView::of(item, currency)).collect(),
            subtotal: money(created.totals.subtotal),
            discount: money(created.totals.discount),
            tax: money(created.totals.tax),
            tip: money(created.totals.tip),
            total: money(created.totals.total),
            placed_at: created.placed_at,
            updated_at,
            version,
        }
    }
}

fn readable(personal: Option<&Personal>) -> Option<String> {
    personal.map(|personal| personal.text().to_owned())
}

impl CustomerView {
    fn of(customer: &Customer) -> Self {
        Self {
            id: customer.customer_id.clone(),
            name: readable(customer.name.as_ref()),
            contact: readable(customer.contact.as_ref()),
        }
    }
}

impl ItemView {
    pub(super) fn of(item: &OrderItem, currency: Currency) -> Self {
        let money = |amount: Amount| Money { amount, currency };
        let modifier = |modifier: &Modifier| ModifierView {
            id: modifier.modifier_id.clone(),
            name: modifier.name.clone(),
            price: money(modifier.price),
        };
        Self {
            id: item.line_id.clone(),
            product_id: item.product_id.clone(),
            catalogue_version: item.catalogue_version,
            name: item.name.clone(),
            quantity: item.quantity,
            unit_price: money(item.unit_price),
            modifiers: item.modifiers.iter().map(modifier).collect(),
            note: readable(item.note.as_ref()),
            line_total: money(item.line_total),
        }
    }
}
