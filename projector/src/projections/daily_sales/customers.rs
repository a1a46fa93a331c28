//! A day's distinct customers, by counting each one's orders.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::{FromRow, PgConnection, Postgres};

use super::days::Day;
use crate::projection::{Schema, WriteError};

/// Orders gained or lost per customer of a day.
#[derive(Debug, Default)]
pub(super) struct Customers(BTreeMap<(Day, String), i64>);

impl Customers {
    pub(super) fn add(&mut self, day: &Day, customer: &str, orders: i64) {
        *self.0.entry((day.clone(), customer.to_owned())).or_default() += orders;
    }

    /// Writes the counts and gives how many distinct customers each day gained or lost.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
    ) -> Result<Vec<(Day, i64)>, WriteError> {
        let changed = |more: bool| Columns::of(self.0.iter().filter(move |(_, by)| **by != 0 && (**by > 0) == more));
        let mut days = changed(true).count_in(connection, schema, self).await?;
        days.extend(changed(false).count_out(connection, schema).await?);
        Ok(days)
    }
}

#[derive(Default)]
struct Columns {
    tenant_id: Vec<String>,
    establishment_id: Vec<String>,
    business_date: Vec<NaiveDate>,
    customer_id: Vec<String>,
    refs: Vec<i64>,
}

type DayRow = (String, String, NaiveDate);

fn days(rows: Vec<DayRow>, by: i64) -> Vec<(Day, i64)> {
    rows.into_iter()
        .map(|(tenant, establishment, date)| {
            (
                Day {
                    tenant,
                    establishment,
                    date,
                },
                by,
            )
        })
        .collect()
}

impl Columns {
    fn of<'a>(customers: impl Iterator<Item = (&'a (Day, String), &'a i64)>) -> Self {
        let mut columns = Self::default();
        for ((day, customer), by) in customers {
            columns.tenant_id.push(day.tenant.clone());
            columns.establishment_id.push(day.establishment.clone());
            columns.business_date.push(day.date);
            columns.customer_id.push(customer.clone());
            columns.refs.push(*by);
        }
        columns
    }

    /// Raises counts. A customer whose count is now what was added was not there before.
    async fn count_in(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        added: &Customers,
    ) -> Result<Vec<(Day, i64)>, WriteError> {
        if self.refs.is_empty() {
            return Ok(vec![]);
        }
        let sql = format!(
            "INSERT INTO {schema}.customers AS c (tenant_id, establishment_id, business_date, customer_id, refs)
             SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::bigint[])
             ON CONFLICT (tenant_id, establishment_id, business_date, customer_id)
                DO UPDATE SET refs = c.refs + excluded.refs
             RETURNING tenant_id, establishment_id, business_date, customer_id, refs"
        );
        let counted: Vec<(String, String, NaiveDate, String, i64)> = self.query(&sql).fetch_all(connection).await?;
        // Compared here, because PostgreSQL gives the rows back in no order that is promised.
        Ok(counted
            .into_iter()
            .map(|(tenant, establishment, date, customer, refs)| {
                let day = Day {
                    tenant,
                    establishment,
                    date,
                };
                ((day, customer), refs)
            })
            .filter(|(key, refs)| added.0.get(key) == Some(refs))
            .map(|((day, _), _)| (day, 1))
            .collect())
    }

    /// Lowers counts and removes customers left without an order.
    async fn count_out(&self, connection: &mut PgConnection, schema: &Schema) -> Result<Vec<(Day, i64)>, WriteError> {
        if self.refs.is_empty() {
            return Ok(vec![]);
        }
        let counted = self
            .run(
                &format!(
                    "UPDATE {schema}.customers AS c
                        SET refs = c.refs + k.refs
                       FROM unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::bigint[])
                         AS k (tenant_id, establishment_id, business_date, customer_id, refs)
                      WHERE c.tenant_id = k.tenant_id AND c.establishment_id = k.establishment_id
                        AND c.business_date = k.business_date AND c.customer_id = k.customer_id
                     RETURNING c.tenant_id, c.establishment_id, c.business_date"
                ),
                connection,
            )
            .await?;
        if counted.len() != self.refs.len() {
            return Err(WriteError::Contradiction("the day does not know the customer"));
        }
        // $5 is only bound so that both statements take the same columns.
        let gone = self
            .run(
                &format!(
                    "DELETE FROM {schema}.customers AS c
                      USING unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::bigint[])
                         AS k (tenant_id, establishment_id, business_date, customer_id, refs)
                      WHERE c.tenant_id = k.tenant_id AND c.establishment_id = k.establishment_id
                        AND c.business_date = k.business_date AND c.customer_id = k.customer_id AND c.refs = 0
                     RETURNING c.tenant_id, c.establishment_id, c.business_date"
                ),
                connection,
            )
            .await?;
        Ok(days(gone, -1))
    }

    async fn run(&self, sql: &str, connection: &mut PgConnection) -> Result<Vec<DayRow>, sqlx::Error> {
        self.query(sql).fetch_all(connection).await
    }

    fn query<'q, Row>(&'q self, sql: &'q str) -> QueryAs<'q, Postgres, Row, PgArguments>
    where
        Row: for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_as(sql)
            .bind(&self.tenant_id)
            .bind(&self.establishment_id)
            .bind(&self.business_date)
            .bind(&self.customer_id)
            .bind(&self.refs)
    }
}
