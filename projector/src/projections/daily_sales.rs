//! `daily_sales`: orders, sales and distinct customers of an establishment's business day.
//!
//! An order keeps what it contributes to its day, and each event writes the new contribution minus
//! the old. The day is the one the order was placed on, so a cancellation next week restates it.

use chrono::NaiveDate;
use domain::order::OrderEvent;
use domain::{AggregateType, Event, OrderId, StreamId, TenantId};
use sqlx::PgConnection;

use super::{OrderKeys, index_of, tenant_text};
use crate::projection::{Change, FoldError, Projection, Schema, StreamEvent, WriteError};

mod customers;
mod days;

use days::Deltas;

#[derive(Debug, Clone, Copy, Default)]
pub struct DailySales;

/// What one order adds to its day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    order_id: OrderId,
    establishment_id: String,
    business_date: NaiveDate,
    currency: String,
    /// 1, or 0 once rejected or cancelled.
    orders: i64,
    /// The total including tax, in minor units; 0 once rejected or cancelled.
    sales: i64,
    /// Whom the order counts for; guests are nobody.
    customer_id: Option<String>,
}

impl Projection for DailySales {
    const NAME: &'static str = "daily_sales";
    const CODE_VERSION: i32 = 1;
    type State = Contribution;

    fn reads(&self, kind: AggregateType) -> bool {
        match kind {
            AggregateType::Order => true,
            AggregateType::Product | AggregateType::Establishment => false,
        }
    }

    fn fold(&self, before: Option<&Contribution>, event: &StreamEvent<'_>) -> Result<Contribution, FoldError> {
        match (event.event, before) {
            (Event::Order(OrderEvent::OrderCreated(created)), None) => Ok(Contribution {
                order_id: event.order_id()?,
                establishment_id: created.establishment_id.to_string(),
                business_date: created.business_date.0,
                currency: created.terms.currency.to_string(),
                orders: 1,
                sales: created.totals.total.0,
                customer_id: created
                    .customer
                    .as_ref()
                    .and_then(|customer| customer.customer_id.as_ref())
                    .map(ToString::to_string),
            }),
            (Event::Order(OrderEvent::OrderCreated(_)), Some(_)) => Err(FoldError::CreatedTwice),
            (Event::Order(OrderEvent::OrderStatusChanged(_)), None) => Err(FoldError::NotCreated),
            (Event::Order(OrderEvent::OrderStatusChanged(changed)), Some(contribution)) => {
                if changed.to.counts_as_sale() {
                    return if contribution.orders == 1 {
                        Ok(contribution.clone())
                    } else {
                        // What it once added is gone; rejected and cancelled orders stay so.
                        Err(FoldError::Other(
                            "an order that was taken out of its day comes back".into(),
                        ))
                    };
                }
                Ok(Contribution {
                    orders: 0,
                    sales: 0,
                    customer_id: None,
                    ..contribution.clone()
                })
            }
            (Event::Product(_) | Event::Establishment(_), _) => Err(FoldError::Foreign),
        }
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> Result<Vec<(usize, Contribution)>, sqlx::Error> {
        let keys = OrderKeys::of(streams);
        let sql = format!(
            "SELECT k.index, c.order_id, c.establishment_id, c.business_date, c.currency, c.orders, c.sales,
                    c.customer_id
               FROM unnest($1::bigint[], $2::text[], $3::uuid[]) AS k (index, tenant_id, order_id)
               JOIN {schema}.contributions AS c USING (tenant_id, order_id)"
        );
        type Row = (i64, uuid::Uuid, String, NaiveDate, String, i64, i64, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(&sql)
            .bind(&keys.indexes)
            .bind(&keys.tenants)
            .bind(&keys.orders)
            .fetch_all(connection)
            .await?;
        rows.into_iter()
            .map(
                |(index, order, establishment_id, business_date, currency, orders, sales, customer_id)| {
                    let contribution = Contribution {
                        order_id: OrderId(order),
                        establishment_id,
                        business_date,
                        currency,
                        orders,
                        sales,
                        customer_id,
                    };
                    Ok((index_of(index)?, contribution))
                },
            )
            .collect()
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, Contribution>],
    ) -> Result<(), WriteError> {
        let mut rows = Rows::default();
        let mut deltas = Deltas::default();
        for change in changes {
            // Most events move an order without changing what it adds.
            if change.before == Some(change.after) {
                continue;
            }
            let tenant = change.stream.tenant();
            rows.push(tenant, change.after);
            if let Some(before) = change.before {
                deltas.add(tenant, before, -1)?;
            }
            deltas.add(tenant, change.after, 1)?;
        }
        rows.write(connection, schema).await?;
        deltas.write(connection, schema).await
    }
}

#[derive(Default)]
struct Rows {
    tenant_id: Vec<String>,
    order_id: Vec<uuid::Uuid>,
    establishment_id: Vec<String>,
    business_date: Vec<NaiveDate>,
    currency: Vec<String>,
    orders: Vec<i64>,
    sales: Vec<i64>,
    customer_id: Vec<Option<String>>,
}

impl Rows {
    fn push(&mut self, tenant: &TenantId, contribution: &Contribution) {
        self.tenant_id.push(tenant_text(tenant));
        self.order_id.push(contribution.order_id.0);
        self.establishment_id.push(contribution.establishment_id.clone());
        self.business_date.push(contribution.business_date);
        self.currency.push(contribution.currency.clone());
        self.orders.push(contribution.orders);
        self.sales.push(contribution.sales);
        self.customer_id.push(contribution.customer_id.clone());
    }

    async fn write(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        if self.order_id.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO {schema}.contributions
                (tenant_id, order_id, establishment_id, business_date, currency, orders, sales, customer_id)
             SELECT * FROM unnest(
                 $1::text[], $2::uuid[], $3::text[], $4::date[], $5::text[], $6::bigint[], $7::bigint[], $8::text[])
             ON CONFLICT (tenant_id, order_id) DO UPDATE SET
                establishment_id = excluded.establishment_id, business_date = excluded.business_date,
                currency = excluded.currency, orders = excluded.orders, sales = excluded.sales,
                customer_id = excluded.customer_id"
        );
        sqlx::query(&sql)
            .bind(&self.tenant_id)
            .bind(&self.order_id)
            .bind(&self.establishment_id)
            .bind(&self.business_date)
            .bind(&self.currency)
            .bind(&self.orders)
            .bind(&self.sales)
            .bind(&self.customer_id)
            .execute(connection)
            .await?;
        Ok(())
    }
}
