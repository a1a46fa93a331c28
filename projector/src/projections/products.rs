//! `products`: the catalogue as menus and dashboards list it.

use domain::product::{ProductDefined, ProductEvent, ProductModifier};
use domain::{AggregateType, Event, Sequence, StreamId, Text, Timestamp};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{index_of, tenant_text, text_keys, version_of};
use crate::projection::{Change, FoldError, Projection, Schema, StreamEvent, WriteError, follows};

#[derive(Debug, Clone, Copy, Default)]
pub struct Products;

/// A product's whole row.
#[derive(Debug, Clone)]
pub struct ProductRow {
    establishment_id: Option<String>,
    name: String,
    category: Option<String>,
    price: i64,
    currency: String,
    available: bool,
    modifiers: Vec<ProductModifier>,
    version: Sequence,
    updated_at: Timestamp,
}

impl ProductRow {
    fn defined(defined: &ProductDefined, available: bool, event: &StreamEvent<'_>) -> Self {
        Self {
            establishment_id: defined.establishment_id.as_ref().map(ToString::to_string),
            name: defined.name.as_str().to_owned(),
            category: defined.category.as_ref().map(Text::as_str).map(str::to_owned),
            price: defined.price.amount.0,
            currency: defined.price.currency.to_string(),
            available,
            modifiers: defined.modifiers.clone(),
            version: event.sequence,
            updated_at: event.recorded_at,
        }
    }
}

impl Projection for Products {
    const NAME: &'static str = "products";
    const CODE_VERSION: i32 = 1;
    type State = ProductRow;

    fn reads(&self, kind: AggregateType) -> bool {
        match kind {
            AggregateType::Product => true,
            AggregateType::Order | AggregateType::Establishment => false,
        }
    }

    fn fold(&self, before: Option<&ProductRow>, event: &StreamEvent<'_>) -> Result<ProductRow, FoldError> {
        follows(before.map_or(Sequence::NONE, |row| row.version), event)?;
        match (event.event, before) {
            // New products are on sale; redefining one leaves its availability alone.
            (Event::Product(ProductEvent::ProductDefined(defined)), row) => {
                Ok(ProductRow::defined(defined, row.is_none_or(|row| row.available), event))
            }
            (Event::Product(ProductEvent::ProductAvailabilityChanged(_)), None) => Err(FoldError::NotCreated),
            (Event::Product(ProductEvent::ProductAvailabilityChanged(changed)), Some(row)) => Ok(ProductRow {
                available: changed.available,
                version: event.sequence,
                updated_at: event.recorded_at,
                ..row.clone()
            }),
            (Event::Order(_) | Event::Establishment(_), _) => Err(FoldError::Foreign),
        }
    }

    // Products change seldom and may be large.
    fn settled(&self, _: ProductRow) -> Option<ProductRow> {
        None
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> Result<Vec<(usize, ProductRow)>, sqlx::Error> {
        let (tenants, products) = text_keys(streams);
        let sql = format!(
            "SELECT k.ordinality, p.establishment_id, p.name, p.category, p.price, p.currency, p.available,
                    p.modifiers, p.version, p.updated_at
               FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (tenant_id, product_id, ordinality)
               JOIN {schema}.products AS p USING (tenant_id, product_id)"
        );
        type Row = (
            i64,
            Option<String>,
            String,
            Option<String>,
            i64,
            String,
            bool,
            Json<Vec<ProductModifier>>,
            i64,
            chrono::DateTime<chrono::Utc>,
        );
        let rows: Vec<Row> = sqlx::query_as(&sql)
            .bind(&tenants)
            .bind(&products)
            .fetch_all(connection)
            .await?;
        rows.into_iter()
            .map(
                |(ordinal, establishment_id, name, category, price, currency, available, modifiers, version, at)| {
                    let row = ProductRow {
                        establishment_id,
                        name,
                        category,
                        price,
                        currency,
                        available,
                        modifiers: modifiers.0,
                        version: version_of(version),
                        updated_at: at.into(),
                    };
                    Ok((index_of(ordinal - 1)?, row))
                },
            )
            .collect()
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, ProductRow>],
    ) -> Result<(), WriteError> {
        let column = |of: fn(&ProductRow) -> String| changes.iter().map(|c| of(c.after)).collect::<Vec<_>>();
        let optional = |of: fn(&ProductRow) -> Option<String>| changes.iter().map(|c| of(c.after)).collect::<Vec<_>>();
        let number = |of: fn(&ProductRow) -> i64| changes.iter().map(|c| of(c.after)).collect::<Vec<_>>();
        let sql = format!(
            "INSERT INTO {schema}.products
                (tenant_id, product_id, establishment_id, name, category, price, currency, available, modifiers,
                 version, updated_at)
             SELECT * FROM unnest(
                 $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bool[],
                 $9::jsonb[], $10::bigint[], $11::timestamptz[])
             ON CONFLICT (tenant_id, product_id) DO UPDATE SET
                establishment_id = excluded.establishment_id, name = excluded.name, category = excluded.category,
                price = excluded.price, currency = excluded.currency, available = excluded.available,
                modifiers = excluded.modifiers, version = excluded.version, updated_at = excluded.updated_at"
        );
        sqlx::query(&sql)
            .bind(
                changes
                    .iter()
                    .map(|c| tenant_text(c.stream.tenant()))
                    .collect::<Vec<_>>(),
            )
            .bind(changes.iter().map(|c| c.stream.id().to_owned()).collect::<Vec<_>>())
            .bind(optional(|row| row.establishment_id.clone()))
            .bind(column(|row| row.name.clone()))
            .bind(optional(|row| row.category.clone()))
            .bind(number(|row| row.price))
            .bind(column(|row| row.currency.clone()))
            .bind(changes.iter().map(|c| c.after.available).collect::<Vec<_>>())
            .bind(changes.iter().map(|c| Json(&c.after.modifiers)).collect::<Vec<_>>())
            .bind(number(|row| row.version.0))
            .bind(
                changes
                    .iter()
                    .map(|c| c.after.updated_at.as_datetime())
                    .collect::<Vec<_>>(),
            )
            .execute(connection)
            .await?;
        Ok(())
    }
}
