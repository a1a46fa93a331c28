//! A day's row, which its orders share. Only differences are written.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::TenantId;
use sqlx::PgConnection;

use super::Contribution;
use super::customers::Customers;
use crate::projection::{Schema, WriteError};

/// One establishment's business day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day {
    pub(super) tenant: String,
    pub(super) establishment: String,
    pub(super) date: NaiveDate,
}

/// The sum of contributions to add to a day.
#[derive(Debug)]
struct Delta {
    currency: String,
    orders: i64,
    sales: i64,
    unique_customers: i64,
}

impl Delta {
    /// Nothing is taken back, so the day may be new.
    fn only_adds(&self) -> bool {
        self.orders >= 0 && self.sales >= 0 && self.unique_customers >= 0
    }

    fn is_nothing(&self) -> bool {
        (self.orders, self.sales, self.unique_customers) == (0, 0, 0)
    }
}

/// New contributions minus old ones.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    days: BTreeMap<Day, Delta>,
    customers: Customers,
}

impl Deltas {
    /// Adds a contribution (`sign` 1) or takes it back (-1).
    ///
    /// # Errors
    /// [`WriteError::Contradiction`] where a day would mix currencies or its sum overflow.
    pub(super) fn add(&mut self, tenant: &TenantId, part: &Contribution, sign: i64) -> Result<(), WriteError> {
        let day = Day {
            tenant: tenant.to_string(),
            establishment: part.establishment_id.clone(),
            date: part.business_date,
        };
        if let Some(customer) = &part.customer_id {
            self.customers.add(&day, customer, sign);
        }
        let delta = self.days.entry(day).or_insert_with(|| Delta {
            currency: part.currency.clone(),
            orders: 0,
            sales: 0,
            unique_customers: 0,
        });
        if delta.currency != part.currency {
            return Err(WriteError::Contradiction("the day's orders are in two currencies"));
        }
        delta.orders += sign * part.orders;
        delta.sales = part
            .sales
            .checked_mul(sign)
            .and_then(|sales| delta.sales.checked_add(sales))
            .ok_or(WriteError::Contradiction("the day's sales are too large"))?;
        Ok(())
    }

    pub(super) async fn write(mut self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        for (day, by) in self.customers.write(connection, schema).await? {
            if let Some(delta) = self.days.get_mut(&day) {
                delta.unique_customers += by;
            }
        }
        let mut raised = Columns::default();
        let mut restated = Columns::default();
        for (day, delta) in &self.days {
            if delta.is_nothing() {
                continue;
            }
            if delta.only_adds() {
                raised.push(day, delta)
            } else {
                restated.push(day, delta)
            }
        }
        raised.raise(connection, schema).await?;
        restated.restate(connection, schema).await
    }
}

#[derive(Default)]
struct Columns {
    tenant_id: Vec<String>,
    establishment_id: Vec<String>,
    business_date: Vec<NaiveDate>,
    currency: Vec<String>,
    orders: Vec<i64>,
    sales: Vec<i64>,
    unique_customers: Vec<i64>,
}

impl Columns {
    fn push(&mut self, day: &Day, delta: &Delta) {
        self.tenant_id.push(day.tenant.clone());
        self.establishment_id.push(day.establishment.clone());
        self.business_date.push(day.date);
        self.currency.push(delta.currency.clone());
        self.orders.push(delta.orders);
        self.sales.push(delta.sales);
        self.unique_customers.push(delta.unique_customers);
    }

    /// Adds to days, new ones included.
    async fn raise(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        let sql = format!(
            "INSERT INTO {schema}.days AS d
                (tenant_id, establishment_id, business_date, currency, orders, sales, unique_customers)
             SELECT * FROM unnest(
                 $1::text[], $2::text[], $3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
             ON CONFLICT (tenant_id, establishment_id, business_date) DO UPDATE SET
                orders = d.orders + excluded.orders, sales = d.sales + excluded.sales,
                unique_customers = d.unique_customers + excluded.unique_customers
              WHERE d.currency = excluded.currency"
        );
        self.run(&sql, connection).await
    }

    /// Takes back from days, which must be there, and removes those left without orders.
    async fn restate(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        let sql = format!(
            "UPDATE {schema}.days AS d
                SET orders = d.orders + k.orders, sales = d.sales + k.sales,
                    unique_customers = d.unique_customers + k.unique_customers
               FROM unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
                 AS k (tenant_id, establishment_id, business_date, currency, orders, sales, unique_customers)
              WHERE d.tenant_id = k.tenant_id AND d.establishment_id = k.establishment_id
                AND d.business_date = k.business_date AND d.currency = k.currency"
        );
        self.run(&sql, connection).await?;
        if self.tenant_id.is_empty() {
            return Ok(());
        }
        // Kept, such a row would depend on how the events were batched.
        let sql = format!(
            "DELETE FROM {schema}.days AS d
              USING unnest($1::text[], $2::text[], $3::date[]) AS k (tenant_id, establishment_id, business_date)
              WHERE d.tenant_id = k.tenant_id AND d.establishment_id = k.establishment_id
                AND d.business_date = k.business_date AND d.orders = 0"
        );
        sqlx::query(&sql)
            .bind(&self.tenant_id)
            .bind(&self.establishment_id)
            .bind(&self.business_date)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn run(&self, sql: &str, connection: &mut PgConnection) -> Result<(), WriteError> {
        if self.tenant_id.is_empty() {
            return Ok(());
        }
        let done = sqlx::query(sql)
            .bind(&self.tenant_id)
            .bind(&self.establishment_id)
            .bind(&self.business_date)
            .bind(&self.currency)
            .bind(&self.orders)
            .bind(&self.sales)
            .bind(&self.unique_customers)
            .execute(connection)
            .await?;
        if done.rows_affected() != self.tenant_id.len() as u64 {
            return Err(WriteError::Contradiction(
                "the day has no row, or one in another currency",
            ));
        }
        Ok(())
    }
}
