//! `orders`: one row answers a whole order, items included.
//!
//! A status change touches only the status columns: the row's items and search words are neither
//! read nor written again.

use std::sync::Arc;

use domain::order::{OrderCreated, OrderEvent, OrderItem, OrderStatus};
use domain::{AggregateType, Event, OrderId, OrderNumber, Personal, Sequence, StreamId, Timestamp, metadata};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{OrderKeys, index_of, stored, tenant_text, version_of};
use crate::projection::{Change, FoldError, Projection, Schema, StreamEvent, WriteError, follows};

#[derive(Debug, Clone, Copy, Default)]
pub struct Orders;

/// What folding an order's next event needs, and the columns that it may change.
#[derive(Debug, Clone)]
pub struct OrderState {
    order_id: OrderId,
    status: OrderStatus,
    version: Sequence,
    updated_at: Timestamp,
    /// The rest of the row, until it is written.
    fresh: Option<Arc<Fresh>>,
}

/// The columns of a row that are written once.
#[derive(Debug)]
struct Fresh {
    created: OrderCreated,
    number: OrderNumber,
    item_count: i32,
}

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const CODE_VERSION: i32 = 1;
    type State = OrderState;

    fn reads(&self, kind: AggregateType) -> bool {
        match kind {
            AggregateType::Order => true,
            AggregateType::Product | AggregateType::Establishment => false,
        }
    }

    fn fold(&self, before: Option<&OrderState>, event: &StreamEvent<'_>) -> Result<OrderState, FoldError> {
        match (event.event, before) {
            (Event::Order(OrderEvent::OrderCreated(created)), None) => place(created, event),
            (Event::Order(OrderEvent::OrderCreated(_)), Some(_)) => Err(FoldError::CreatedTwice),
            (Event::Order(OrderEvent::OrderStatusChanged(_)), None) => Err(FoldError::NotCreated),
            (Event::Order(OrderEvent::OrderStatusChanged(changed)), Some(order)) => {
                follows(order.version, event)?;
                if order.status != changed.from {
                    return Err(FoldError::OtherStatus {
                        claimed: changed.from.to_string(),
                        actual: order.status.to_string(),
                    });
                }
                Ok(OrderState {
                    status: changed.to,
                    version: event.sequence,
                    updated_at: event.recorded_at,
                    ..order.clone()
                })
            }
            (Event::Product(_) | Event::Establishment(_), _) => Err(FoldError::Foreign),
        }
    }

    fn settled(&self, state: OrderState) -> Option<OrderState> {
        Some(OrderState { fresh: None, ..state })
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> Result<Vec<(usize, OrderState)>, sqlx::Error> {
        let keys = OrderKeys::of(streams);
        let sql = format!(
            "SELECT k.index, o.order_id, o.status, o.version, o.updated_at
               FROM unnest($1::bigint[], $2::text[], $3::uuid[]) AS k (index, tenant_id, order_id)
               JOIN {schema}.orders AS o USING (tenant_id, order_id)"
        );
        type Row = (i64, uuid::Uuid, String, i64, chrono::DateTime<chrono::Utc>);
        let rows: Vec<Row> = sqlx::query_as(&sql)
            .bind(&keys.indexes)
            .bind(&keys.tenants)
            .bind(&keys.orders)
            .fetch_all(connection)
            .await?;
        rows.into_iter()
            .map(|(index, order, status, version, updated_at)| {
                let state = OrderState {
                    order_id: OrderId(order),
                    status: stored("status", &status)?,
                    version: version_of(version),
                    updated_at: updated_at.into(),
                    fresh: None,
                };
                Ok((index_of(index)?, state))
            })
            .collect()
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, OrderState>],
    ) -> Result<(), WriteError> {
        let mut created = Created::default();
        let mut moved = Moved::default();
        for change in changes {
            match &change.after.fresh {
                Some(fresh) => created.push(change.stream, change.after, fresh),
                None => moved.push(change.stream, change.after),
            }
        }
        created.write(connection, schema).await?;
        moved.write(connection, schema).await
    }
}

fn place(created: &OrderCreated, event: &StreamEvent<'_>) -> Result<OrderState, FoldError> {
    follows(Sequence::NONE, event)?;
    let number = event
        .metadata
        .get(metadata::key::NUMBER)
        .and_then(|number| number.parse().ok());
    let units = created
        .items
        .iter()
        .try_fold(0_u32, |sum, item| sum.checked_add(item.quantity));
    let item_count = units
        .and_then(|units| i32::try_from(units).ok())
        .ok_or(FoldError::TooLarge("the item count"))?;
    Ok(OrderState {
        order_id: event.order_id()?,
        status: OrderStatus::Placed,
        version: event.sequence,
        updated_at: event.recorded_at,
        fresh: Some(Arc::new(Fresh {
            created: created.clone(),
            number: OrderNumber(number.ok_or(FoldError::NoNumber)?),
            item_count,
        })),
    })
}

fn item_json(item: &OrderItem) -> Value {
    let modifiers: Vec<Value> = item
        .modifiers
        .iter()
        .map(|modifier| {
            let mut value = json!({ "name": modifier.name, "price": modifier.price });
            if let Some(id) = &modifier.modifier_id {
                value["modifier_id"] = json!(id);
            }
            value
        })
        .collect();
    let mut value = json!({
        "line_id": item.line_id,
        "name": item.name,
        "quantity": item.quantity,
        "unit_price": item.unit_price,
        "modifiers": modifiers,
        "line_total": item.line_total,
    });
    if let Some(product) = &item.product_id {
        value["product_id"] = json!(product);
    }
    if let Some(note) = &item.note {
        value["note"] = json!(note.text());
    }
    value
}

/// New rows, column by column.
#[derive(Default)]
struct Created {
    tenant_id: Vec<String>,
    order_id: Vec<uuid::Uuid>,
    establishment_id: Vec<String>,
    number: Vec<i64>,
    business_date: Vec<chrono::NaiveDate>,
    reference: Vec<Option<String>>,
    status: Vec<&'static str>,
    service_type: Vec<&'static str>,
    channel: Vec<Option<String>>,
    table_id: Vec<Option<String>>,
    currency: Vec<String>,
    subtotal: Vec<i64>,
    discount: Vec<i64>,
    tax: Vec<i64>,
    tip: Vec<i64>,
    total: Vec<i64>,
    item_count: Vec<i32>,
    items: Vec<Json<Vec<Value>>>,
    customer_id: Vec<Option<String>>,
    customer_name: Vec<Option<String>>,
    customer_contact: Vec<Option<String>>,
    note: Vec<Option<String>>,
    placed_at: Vec<chrono::DateTime<chrono::Utc>>,
    updated_at: Vec<chrono::DateTime<chrono::Utc>>,
    version: Vec<i64>,
}

fn plain(personal: Option<&Personal>) -> Option<String> {
    personal.map(|personal| personal.text().to_owned())
}

impl Created {
    fn push(&mut self, stream: &StreamId, state: &OrderState, fresh: &Fresh) {
        let created = &fresh.created;
        let customer = created.customer.as_ref();
        let text = |text: &Option<domain::Text>| text.as_ref().map(|text| text.as_str().to_owned());
        self.tenant_id.push(tenant_text(stream.tenant()));
        self.order_id.push(state.order_id.0);
        self.establishment_id.push(created.establishment_id.to_string());
        self.number.push(fresh.number.0);
        self.business_date.push(created.business_date.0);
        self.reference.push(text(&created.reference));
        self.status.push(state.status.as_str());
        self.service_type.push(created.service_type.as_str());
        self.channel.push(text(&created.channel));
        self.table_id.push(created.table_id.as_ref().map(ToString::to_string));
        self.currency.push(created.terms.currency.to_string());
        self.subtotal.push(created.totals.subtotal.0);
        self.discount.push(created.totals.discount.0);
        self.tax.push(created.totals.tax.0);
        self.tip.push(created.totals.tip.0);
        self.total.push(created.totals.total.0);
        self.item_count.push(fresh.item_count);
        self.items.push(Json(created.items.iter().map(item_json).collect()));
        self.customer_id.push(
            customer
                .and_then(|who| who.customer_id.as_ref())
                .map(ToString::to_string),
        );
        self.customer_name
            .push(plain(customer.and_then(|who| who.name.as_ref())));
        self.customer_contact
            .push(plain(customer.and_then(|who| who.contact.as_ref())));
        self.note.push(plain(created.note.as_ref()));
        self.placed_at.push(created.placed_at.as_datetime());
        self.updated_at.push(state.updated_at.as_datetime());
        self.version.push(state.version.0);
    }

    async fn write(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        if self.order_id.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO {schema}.orders
                (tenant_id, order_id, establishment_id, number, business_date, reference, status, service_type,
                 channel, table_id, currency, subtotal, discount, tax, tip, total, item_count, items, customer_id,
                 customer_name, customer_contact, note, placed_at, updated_at, version)
             SELECT * FROM unnest(
                 $1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::date[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
                 $16::bigint[], $17::int[], $18::jsonb[], $19::text[], $20::text[], $21::text[], $22::text[],
                 $23::timestamptz[], $24::timestamptz[], $25::bigint[])
             ON CONFLICT (tenant_id, order_id) DO UPDATE SET
                establishment_id = excluded.establishment_id, number = excluded.number,
                business_date = excluded.business_date, reference = excluded.reference, status = excluded.status,
                service_type = excluded.service_type, channel = excluded.channel, table_id = excluded.table_id,
                currency = excluded.currency, subtotal = excluded.subtotal, discount = excluded.discount,
                tax = excluded.tax, tip = excluded.tip, total = excluded.total, item_count = excluded.item_count,
                items = excluded.items, customer_id = excluded.customer_id, customer_name = excluded.customer_name,
                customer_contact = excluded.customer_contact, note = excluded.note, placed_at = excluded.placed_at,
                updated_at = excluded.updated_at, version = excluded.version"
        );
        sqlx::query(&sql)
            .bind(&self.tenant_id)
            .bind(&self.order_id)
            .bind(&self.establishment_id)
            .bind(&self.number)
            .bind(&self.business_date)
            .bind(&self.reference)
            .bind(&self.status)
            .bind(&self.service_type)
            .bind(&self.channel)
            .bind(&self.table_id)
            .bind(&self.currency)
            .bind(&self.subtotal)
            .bind(&self.discount)
            .bind(&self.tax)
            .bind(&self.tip)
            .bind(&self.total)
            .bind(&self.item_count)
            .bind(&self.items)
            .bind(&self.customer_id)
            .bind(&self.customer_name)
            .bind(&self.customer_contact)
            .bind(&self.note)
            .bind(&self.placed_at)
            .bind(&self.updated_at)
            .bind(&self.version)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Rows whose status moved, column by column.
#[derive(Default)]
struct Moved {
    tenant_id: Vec<String>,
    order_id: Vec<uuid::Uuid>,
    status: Vec<&'static str>,
    updated_at: Vec<chrono::DateTime<chrono::Utc>>,
    version: Vec<i64>,
}

impl Moved {
    fn push(&mut self, stream: &StreamId, state: &OrderState) {
        self.tenant_id.push(tenant_text(stream.tenant()));
        self.order_id.push(state.order_id.0);
        self.status.push(state.status.as_str());
        self.updated_at.push(state.updated_at.as_datetime());
        self.version.push(state.version.0);
    }

    async fn write(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        if self.order_id.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE {schema}.orders AS o
                SET status = k.status, updated_at = k.updated_at, version = k.version
               FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::bigint[])
                 AS k (tenant_id, order_id, status, updated_at, version)
              WHERE o.tenant_id = k.tenant_id AND o.order_id = k.order_id"
        );
        let done = sqlx::query(&sql)
            .bind(&self.tenant_id)
            .bind(&self.order_id)
            .bind(&self.status)
            .bind(&self.updated_at)
            .bind(&self.version)
            .execute(connection)
            .await?;
        if done.rows_affected() != self.order_id.len() as u64 {
            return Err(WriteError::Contradiction("the order has no row"));
        }
        Ok(())
    }
}
