//! `establishments`: the places of business a tenant has, as last defined.

use domain::establishment::{EstablishmentDefined, EstablishmentEvent};
use domain::{AggregateType, Event, Sequence, StreamId, TaxMode, Timestamp};
use sqlx::PgConnection;

use super::{index_of, tenant_text, text_keys, version_of};
use crate::projection::{Change, FoldError, Projection, Schema, StreamEvent, WriteError, follows};

#[derive(Debug, Clone, Copy, Default)]
pub struct Establishments;

/// The version of a stored row, and the row where it is yet to be written: each event carries the
/// whole definition, so nothing else of the old row matters.
#[derive(Debug, Clone)]
pub struct EstablishmentState {
    version: Sequence,
    defined: Option<(EstablishmentDefined, Timestamp)>,
}

impl Projection for Establishments {
    const NAME: &'static str = "establishments";
    const CODE_VERSION: i32 = 1;
    type State = EstablishmentState;

    fn reads(&self, kind: AggregateType) -> bool {
        match kind {
            AggregateType::Establishment => true,
            AggregateType::Order | AggregateType::Product => false,
        }
    }

    fn fold(
        &self,
        before: Option<&EstablishmentState>,
        event: &StreamEvent<'_>,
    ) -> Result<EstablishmentState, FoldError> {
        follows(before.map_or(Sequence::NONE, |state| state.version), event)?;
        match event.event {
            Event::Establishment(EstablishmentEvent::EstablishmentDefined(defined)) => Ok(EstablishmentState {
                version: event.sequence,
                defined: Some((defined.clone(), event.recorded_at)),
            }),
            Event::Order(_) | Event::Product(_) => Err(FoldError::Foreign),
        }
    }

    fn settled(&self, _: EstablishmentState) -> Option<EstablishmentState> {
        None
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> Result<Vec<(usize, EstablishmentState)>, sqlx::Error> {
        let (tenants, ids) = text_keys(streams);
        let sql = format!(
            "SELECT k.ordinality, e.version
               FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (tenant_id, establishment_id, ordinality)
               JOIN {schema}.establishments AS e USING (tenant_id, establishment_id)"
        );
        let rows: Vec<(i64, i64)> = sqlx::query_as(&sql)
            .bind(&tenants)
            .bind(&ids)
            .fetch_all(connection)
            .await?;
        rows.into_iter()
            .map(|(ordinal, version)| {
                let state = EstablishmentState {
                    version: version_of(version),
                    defined: None,
                };
                Ok((index_of(ordinal - 1)?, state))
            })
            .collect()
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, EstablishmentState>],
    ) -> Result<(), WriteError> {
        let mut rows = Rows::default();
        for change in changes {
            if let Some((defined, at)) = &change.after.defined {
                rows.push(change.stream, change.after.version, defined, *at);
            }
        }
        rows.write(connection, schema).await
    }
}

#[derive(Default)]
struct Rows {
    tenant_id: Vec<String>,
    establishment_id: Vec<String>,
    name: Vec<String>,
    time_zone: Vec<&'static str>,
    currency: Vec<String>,
    tax_mode: Vec<&'static str>,
    tax_rate_ppm: Vec<i32>,
    kind: Vec<&'static str>,
    version: Vec<i64>,
    updated_at: Vec<chrono::DateTime<chrono::Utc>>,
}

impl Rows {
    fn push(&mut self, stream: &StreamId, version: Sequence, defined: &EstablishmentDefined, at: Timestamp) {
        self.tenant_id.push(tenant_text(stream.tenant()));
        self.establishment_id.push(stream.id().to_owned());
        self.name.push(defined.name.as_str().to_owned());
        self.time_zone.push(defined.time_zone.name());
        self.currency.push(defined.currency.to_string());
        self.tax_mode.push(match defined.tax.mode {
            TaxMode::Inclusive => "inclusive",
            TaxMode::Additive => "additive",
        });
        // At most a million, by its type.
        self.tax_rate_ppm
            .push(i32::try_from(defined.tax.rate_ppm.ppm()).unwrap_or(i32::MAX));
        self.kind.push(defined.kind.as_str());
        self.version.push(version.0);
        self.updated_at.push(at.as_datetime());
    }

    async fn write(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        let sql = format!(
            "INSERT INTO {schema}.establishments
                (tenant_id, establishment_id, name, time_zone, currency, tax_mode, tax_rate_ppm, kind, version,
                 updated_at)
             SELECT * FROM unnest(
                 $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[],
                 $9::bigint[], $10::timestamptz[])
             ON CONFLICT (tenant_id, establishment_id) DO UPDATE SET
                name = excluded.name, time_zone = excluded.time_zone, currency = excluded.currency,
                tax_mode = excluded.tax_mode, tax_rate_ppm = excluded.tax_rate_ppm, kind = excluded.kind,
                version = excluded.version, updated_at = excluded.updated_at"
        );
        sqlx::query(&sql)
            .bind(&self.tenant_id)
            .bind(&self.establishment_id)
            .bind(&self.name)
            .bind(&self.time_zone)
            .bind(&self.currency)
            .bind(&self.tax_mode)
            .bind(&self.tax_rate_ppm)
            .bind(&self.kind)
            .bind(&self.version)
            .bind(&self.updated_at)
            .execute(connection)
            .await?;
        Ok(())
    }
}
