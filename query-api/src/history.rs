//! Orders as they stood, folded from the log.
//!
//! Read models show the present only. What is asked for of the past is read from the shard that
//! owns the tenant's slot, so it needs that shard and no read store; while the shard is away, only
//! such fields have no answer. Nothing is kept, so a crash loses nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cqrs_es::{DomainEvent as _, EventEnvelope};
use domain::metadata::key;
use domain::order::{Order, OrderEvent, OrderItem, OrderStatus};
use domain::{OrderId, Personal, Sequence, StreamId, Timestamp};
use event_store::{EventStore, Options};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::error::Error;
use crate::reads::order_row::{ItemRow, ModifierRow, OrderRow};
use crate::reads::timeline::EntryRow;
use crate::session::Session;

/// How long the log may take to answer one field.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the past is read from. Cheap to clone.
#[derive(Clone, Default)]
pub struct History(Arc<Source>);

#[derive(Default)]
enum Source {
    /// This process knows no shards.
    #[default]
    Nowhere,
    Open(EventStore),
    /// Opened when it is first needed, so that shards which are away hold up nothing else.
    Later(Box<Options>, OnceCell<EventStore>),
}

/// A point in an order's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Right after its event of this sequence.
    Version(Sequence),
    /// After everything recorded up to this time, and at it.
    Time(Timestamp),
}

/// An order as it stood, with its timeline up to then.
pub(crate) struct Past {
    pub(crate) row: OrderRow,
    pub(crate) timeline: Vec<EntryRow>,
}

impl History {
    /// From a log that this process has open anyway.
    pub fn of(store: EventStore) -> Self {
        Self(Arc::new(Source::Open(store)))
    }

    /// From the shards of the options, opened when first needed.
    pub fn opened_when_needed(options: Options) -> Self {
        Self(Arc::new(Source::Later(Box::new(options), OnceCell::new())))
    }

    async fn store(&self) -> Result<&EventStore, Error> {
        match &*self.0 {
            Source::Nowhere => Err(Error::NoLog),
            Source::Open(store) => Ok(store),
            Source::Later(options, store) => {
                let open = || EventStore::connect(Options::clone(options));
                store.get_or_try_init(open).await.map_err(Error::Log)
            }
        }
    }

    /// The order as it stood; `None` where it was not there then, or the token may not see it.
    pub(crate) async fn order(&self, session: &Session, id: OrderId, moment: Moment) -> Result<Option<Past>, Error> {
        let stream = StreamId::order(session.scope().tenant(), id);
        let read = async {
            let orders = self.store().await?.aggregates::<Order>();
            orders.load_fresh(&stream).await.map_err(Error::Log)
        };
        let loaded = timeout(PATIENCE, read).await.unwrap_or(Err(Error::LogTooSlow))?;
        let mut history = Vec::new();
        for event in loaded.envelopes.iter() {
            if !moment.includes(event)? {
                break;
            }
            history.push(event);
        }
        // A version that it never had is no moment of its past.
        let reached = match moment {
            Moment::Version(version) => sequence(history.last().copied()) == version.0,
            Moment::Time(_) => true,
        };
        let past = if reached { fold(&history)? } else { None };
        Ok(past.filter(|past| may_see(session, &past.row)))
    }
}

impl Moment {
    fn includes(self, event: &EventEnvelope<Order>) -> Result<bool, Error> {
        Ok(match self {
            Self::Version(version) => sequence(Some(event)) <= version.0,
            Self::Time(time) => recorded_at(event)? <= time,
        })
    }
}

fn may_see(session: &Session, order: &OrderRow) -> bool {
    let establishment = order.establishment_id.as_ref().and_then(|id| id.parse().ok());
    establishment.is_some_and(|id| session.principal.may_use_establishment(&id))
}

/// The row that the read model had when it had read just these events.
fn fold(history: &[&EventEnvelope<Order>]) -> Result<Option<Past>, Error> {
    let (Some(first), Some(last)) = (history.first(), history.last()) else {
        return Ok(None);
    };
    let mut order = Order::default();
    history.iter().for_each(|event| order.evolve(&event.payload));
    let state = order
        .state()
        .ok_or_else(|| unreadable("an order that was not created"))?;
    let created = &state.created;
    let order_id = created.order_id.0;
    let timeline = history
        .iter()
        .map(|event| entry(order_id, event))
        .collect::<Result<_, _>>()?;
    let units = created
        .items
        .iter()
        .try_fold(0_i32, |sum, item| sum.checked_add(i32::try_from(item.quantity).ok()?));
    let customer = created.customer.as_ref();
    let row = OrderRow {
        order_id,
        placed_at: created.placed_at.as_datetime(),
        establishment_id: Some(created.establishment_id.to_string()),
        number: first.metadata.get(key::NUMBER).and_then(|number| number.parse().ok()),
        business_date: Some(created.business_date.0),
        reference: created.reference.as_ref().map(ToString::to_string),
        status: Some(state.status.as_str().to_owned()),
        service_type: Some(created.service_type.as_str().to_owned()),
        channel: created.channel.as_ref().map(ToString::to_string),
        table_id: created.table_id.as_ref().map(ToString::to_string),
        currency: Some(created.terms.currency.to_string()),
        subtotal: Some(created.totals.subtotal.0),
        discount: Some(created.totals.discount.0),
        tax: Some(created.totals.tax.0),
        tip: Some(created.totals.tip.0),
        total: Some(created.totals.total.0),
        item_count: Some(units.ok_or_else(|| unreadable("more units than can be counted"))?),
        items: Some(created.items.iter().map(item).collect::<Result<_, _>>()?),
        customer_id: customer.and_then(|it| it.customer_id.as_ref()).map(ToString::to_string),
        customer_name: plain(customer.and_then(|it| it.name.as_ref())),
        customer_contact: plain(customer.and_then(|it| it.contact.as_ref())),
        note: plain(created.note.as_ref()),
        updated_at: Some(recorded_at(last)?.as_datetime()),
        version: Some(sequence(Some(last))),
    };
    Ok(Some(Past { row, timeline }))
}

fn item(item: &OrderItem) -> Result<ItemRow, Error> {
    let modifiers = item.modifiers.iter().map(|modifier| ModifierRow {
        modifier_id: modifier.modifier_id.as_ref().map(ToString::to_string),
        name: modifier.name.to_string(),
        price: modifier.price.0,
    });
    Ok(ItemRow {
        line_id: item.line_id.to_string(),
        product_id: item.product_id.as_ref().map(ToString::to_string),
        name: item.name.to_string(),
        quantity: i32::try_from(item.quantity).map_err(|_| unreadable("more units than can be counted"))?,
        unit_price: item.unit_price.0,
        modifiers: modifiers.collect(),
        note: plain(item.note.as_ref()),
        line_total: item.line_total.0,
    })
}

fn entry(order: uuid::Uuid, event: &EventEnvelope<Order>) -> Result<EntryRow, Error> {
    let (before, status, reason, occurred_at) = match &event.payload {
        OrderEvent::OrderCreated(created) => (None, OrderStatus::Placed, None, created.placed_at),
        OrderEvent::OrderStatusChanged(changed) => (Some(changed.from), changed.to, changed.reason, changed.changed_at),
    };
    let recorded_at = recorded_at(event)?;
    Ok(EntryRow {
        order_id: order,
        sequence: sequence(Some(event)),
        event_type: Some(event.payload.event_type()),
        from_status: before.map(|status| status.as_str().to_owned()),
        status: Some(status.as_str().to_owned()),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        actor: event.metadata.get(key::ACTOR).cloned(),
        occurred_at: Some(occurred_at.as_datetime()),
        recorded_at: Some(recorded_at.as_datetime()),
    })
}

fn plain(personal: Option<&Personal>) -> Option<String> {
    personal.map(|personal| personal.text().to_owned())
}

fn recorded_at(event: &EventEnvelope<Order>) -> Result<Timestamp, Error> {
    let stored = event.metadata.get(key::RECORDED_AT).and_then(|time| time.parse().ok());
    stored.ok_or_else(|| unreadable("an event without its time"))
}

/// 0 where there is no event.
fn sequence(event: Option<&EventEnvelope<Order>>) -> i64 {
    event.map_or(0, |event| i64::try_from(event.sequence).unwrap_or(i64::MAX))
}

fn unreadable(what: &str) -> Error {
    Error::Row(format!("the log has {what}"))
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Source::Nowhere => "History(nowhere)",
            Source::Open(_) => "History(open)",
            Source::Later(..) => "History(opened when needed)",
        })
    }
}
