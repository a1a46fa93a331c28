//! Orders as the schema shows them.

use async_graphql::{ID, Object, SimpleObject};
use domain::order;

use super::connection::Listed;
use super::enums::{OrderReason, OrderStatus, ServiceType, stored};
use super::money::Money;
use super::scalars::{Date, DateTime};
use super::{int, known, read};
use crate::id::{Kind, global};
use crate::reads::order_row::{ItemRow, ModifierRow, OrderRow};
use crate::reads::orders::OrderKey;
use crate::reads::timeline::EntryRow;

type Result<T> = async_graphql::Result<T>;

/// An order, with its timeline where that was selected.
pub(crate) struct Order {
    row: OrderRow,
    timeline: Vec<EntryRow>,
}

impl Order {
    pub(crate) fn new(row: OrderRow, timeline: Vec<EntryRow>) -> Self {
        Self { row, timeline }
    }

    fn money(&self, amount: Option<i64>) -> Result<Money> {
        Ok(Money::new(*read(&amount)?, read(&self.row.currency)?))
    }
}

impl Listed for Order {
    type Key = OrderKey;

    fn list_key(&self) -> OrderKey {
        self.row.key()
    }
}

/// An order of an establishment, as of the answer's position.
#[Object]
impl Order {
    /// Global id, for `node` and caches.
    pub(crate) async fn id(&self) -> ID {
        global(Kind::Order, self.row.order_id)
    }

    /// The REST id: a UUID.
    async fn key(&self) -> ID {
        ID(self.row.order_id.to_string())
    }

    /// The establishment's running number of the business day: 1, 2, 3…
    async fn number(&self) -> Result<i32> {
        int(*read(&self.row.number)?)
    }

    /// The client's own number, where it gave one.
    async fn reference(&self) -> Option<&str> {
        self.row.reference.as_deref()
    }

    /// The day the order belongs to, on the establishment's calendar.
    async fn business_date(&self) -> Result<Date> {
        read(&self.row.business_date).map(|date| (*date).into())
    }

    /// The establishment's REST id.
    async fn establishment_id(&self) -> Result<ID> {
        read(&self.row.establishment_id).map(|id| ID(id.clone()))
    }

    /// Where the order stands.
    async fn status(&self) -> Result<OrderStatus> {
        known(stored::<order::OrderStatus>(read(&self.row.status)?).map(Into::into))
    }

    /// How the order reaches its customer.
    async fn service_type(&self) -> Result<ServiceType> {
        known(stored::<order::ServiceType>(read(&self.row.service_type)?).map(Into::into))
    }

    /// Where the order came from, in the client's words: web, pos, kiosk, import…
    async fn channel(&self) -> Option<&str> {
        self.row.channel.as_deref()
    }

    /// The table it is for, where there is one.
    async fn table_id(&self) -> Option<&str> {
        self.row.table_id.as_deref()
    }

    /// The sum of the lines.
    async fn subtotal(&self) -> Result<Money> {
        self.money(self.row.subtotal)
    }

    /// Taken off the subtotal.
    async fn discount(&self) -> Result<Money> {
        self.money(self.row.discount)
    }

    /// The tax due: contained in the prices or added to them, as the establishment's rule says.
    async fn tax(&self) -> Result<Money> {
        self.money(self.row.tax)
    }

    /// On top of what is due.
    async fn tip(&self) -> Result<Money> {
        self.money(self.row.tip)
    }

    /// What the customer pays, tax and tip included.
    async fn total(&self) -> Result<Money> {
        self.money(self.row.total)
    }

    /// Units ordered: the sum of the lines' quantities.
    async fn item_count(&self) -> Result<i32> {
        read(&self.row.item_count).copied()
    }

    /// Who ordered, as far as known.
    async fn customer(&self) -> Option<Customer> {
        let OrderRow {
            customer_id,
            customer_name,
            customer_contact,
            ..
        } = &self.row;
        let known = customer_id.is_some() || customer_name.is_some() || customer_contact.is_some();
        known.then(|| Customer {
            id: customer_id.as_ref().map(|id| global(Kind::Customer, id)),
            key: customer_id.clone().map(ID),
            name: customer_name.clone(),
            contact: customer_contact.clone(),
        })
    }

    /// A free note on the whole order.
    async fn note(&self) -> Option<&str> {
        self.row.note.as_deref()
    }

    /// When it was placed, by the device's clock.
    async fn placed_at(&self) -> DateTime {
        self.row.placed_at.into()
    }

    /// When its last event was recorded.
    async fn updated_at(&self) -> Result<DateTime> {
        read(&self.row.updated_at).map(|time| (*time).into())
    }

    /// The number of its events; the ETag of the REST resource.
    async fn version(&self) -> Result<i32> {
        int(*read(&self.row.version)?)
    }

    /// Its lines, in the order given.
    async fn items(&self) -> Result<Vec<OrderItem<'_>>> {
        let currency = read(&self.row.currency)?;
        let items = read(&self.row.items)?.iter();
        Ok(items
            .map(|item| OrderItem {
                order: &self.row,
                item,
                currency,
            })
            .collect())
    }

    /// What happened to it, oldest first.
    async fn timeline(&self) -> Vec<OrderEvent<'_>> {
        self.timeline.iter().map(OrderEvent).collect()
    }
}

/// One line of an order.
pub(crate) struct OrderItem<'o> {
    order: &'o OrderRow,
    item: &'o ItemRow,
    currency: &'o str,
}

/// One line of an order.
#[Object]
impl OrderItem<'_> {
    /// Global id, for caches. Lines are read with their order, not by `node`.
    async fn id(&self) -> ID {
        global(
            Kind::OrderItem,
            format_args!("{}/{}", self.order.order_id, self.item.line_id),
        )
    }

    /// The line's REST id, unique within its order.
    async fn key(&self) -> ID {
        ID(self.item.line_id.clone())
    }

    /// The product's REST id; null on open items, which the client named and priced itself.
    async fn product_id(&self) -> Option<ID> {
        self.item.product_id.clone().map(ID)
    }

    /// The product's name when it was ordered.
    async fn name(&self) -> &str {
        &self.item.name
    }

    /// Units.
    async fn quantity(&self) -> i32 {
        self.item.quantity
    }

    /// The price of one unit, without modifiers.
    async fn unit_price(&self) -> Money {
        Money::new(self.item.unit_price, self.currency)
    }

    /// Extras and options.
    async fn modifiers(&self) -> Vec<OrderItemModifier<'_>> {
        let modifiers = self.item.modifiers.iter();
        modifiers
            .map(|modifier| OrderItemModifier {
                modifier,
                currency: self.currency,
            })
            .collect()
    }

    /// Quantity times (unit price + modifiers).
    async fn line_total(&self) -> Money {
        Money::new(self.item.line_total, self.currency)
    }

    /// A free note on this line.
    async fn note(&self) -> Option<&str> {
        self.item.note.as_deref()
    }
}

/// An extra or option on a line.
pub(crate) struct OrderItemModifier<'o> {
    modifier: &'o ModifierRow,
    currency: &'o str,
}

/// An extra or option on a line.
#[Object]
impl OrderItemModifier<'_> {
    /// The modifier's REST id; null where the client named it itself.
    async fn key(&self) -> Option<ID> {
        self.modifier.modifier_id.clone().map(ID)
    }

    /// Its name when it was ordered.
    async fn name(&self) -> &str {
        &self.modifier.name
    }

    /// Its price for each unit of the line.
    async fn price(&self) -> Money {
        Money::new(self.modifier.price, self.currency)
    }
}

/// Who ordered.
#[derive(SimpleObject)]
pub(crate) struct Customer {
    /// Global id, for caches; null for guests.
    id: Option<ID>,
    /// The customer's REST id; null for guests.
    key: Option<ID>,
    /// Name, where given.
    name: Option<String>,
    /// A phone number or address to reach them by, where given.
    contact: Option<String>,
}

/// An event of an order.
pub(crate) struct OrderEvent<'o>(&'o EntryRow);

/// Something that happened to an order.
#[Object]
impl OrderEvent<'_> {
    /// Counts the order's events: 1, 2, 3…
    async fn sequence(&self) -> Result<i32> {
        int(self.0.sequence)
    }

    /// The event's name in the log, such as `OrderStatusChanged`.
    #[graphql(name = "type")]
    async fn event_type(&self) -> Result<&str> {
        read(&self.0.event_type).map(String::as_str)
    }

    /// Where the order stood before; null on its first event.
    #[graphql(name = "fromStatus")]
    async fn status_before(&self) -> Result<Option<OrderStatus>> {
        let status = self.0.from_status.as_deref();
        status
            .map(|name| known(stored::<order::OrderStatus>(name).map(Into::into)))
            .transpose()
    }

    /// Where the order stood afterwards.
    async fn status(&self) -> Result<OrderStatus> {
        known(stored::<order::OrderStatus>(read(&self.0.status)?).map(Into::into))
    }

    /// Why, where a reason was given.
    async fn reason(&self) -> Result<Option<OrderReason>> {
        let reason = self.0.reason.as_deref();
        reason
            .map(|name| known(stored::<order::Reason>(name).map(Into::into)))
            .transpose()
    }

    /// Who did it: the subject of the token.
    async fn actor(&self) -> Option<&str> {
        self.0.actor.as_deref()
    }

    /// When it happened, by the device's clock.
    async fn occurred_at(&self) -> Result<DateTime> {
        read(&self.0.occurred_at).map(|time| (*time).into())
    }

    /// When it was recorded.
    async fn recorded_at(&self) -> Result<DateTime> {
        read(&self.0.recorded_at).map(|time| (*time).into())
    }
}
