//! `order_timeline`: what happened to an order, one row an event.

use domain::order::{OrderEvent, OrderStatus, Reason};
use domain::{AggregateType, Event, OrderId, Sequence, StreamId, Timestamp, metadata};
use sqlx::PgConnection;

use super::tenant_text;
use crate::projection::{Change, FoldError, Projection, Schema, StreamEvent, WriteError};

#[derive(Debug, Clone, Copy, Default)]
pub struct OrderTimeline;

/// One entry; every event makes exactly one, from itself alone.
#[derive(Debug, Clone)]
pub struct Entry {
    order_id: OrderId,
    sequence: Sequence,
    event_type: &'static str,
    from_status: Option<OrderStatus>,
    status: OrderStatus,
    reason: Option<Reason>,
    actor: Option<String>,
    occurred_at: Timestamp,
    recorded_at: Timestamp,
}

impl Projection for OrderTimeline {
    const NAME: &'static str = "order_timeline";
    const CODE_VERSION: i32 = 1;
    /// The entries not yet written. Written ones are never needed again.
    type State = Vec<Entry>;

    fn reads(&self, kind: AggregateType) -> bool {
        match kind {
            AggregateType::Order => true,
            AggregateType::Product | AggregateType::Establishment => false,
        }
    }

    fn fold(&self, before: Option<&Vec<Entry>>, event: &StreamEvent<'_>) -> Result<Vec<Entry>, FoldError> {
        let order_event = match event.event {
            Event::Order(order_event) => order_event,
            Event::Product(_) | Event::Establishment(_) => return Err(FoldError::Foreign),
        };
        let (from_status, status, reason, occurred_at) = match order_event {
            OrderEvent::OrderCreated(created) => (None, OrderStatus::Placed, None, created.placed_at),
            OrderEvent::OrderStatusChanged(changed) => {
                (Some(changed.from), changed.to, changed.reason, changed.changed_at)
            }
        };
        let mut entries = before.cloned().unwrap_or_default();
        entries.push(Entry {
            order_id: event.order_id()?,
            sequence: event.sequence,
            event_type: order_event.kind().as_str(),
            from_status,
            status,
            reason,
            actor: event.metadata.get(metadata::key::ACTOR).cloned(),
            occurred_at,
            recorded_at: event.recorded_at,
        });
        Ok(entries)
    }

    fn settled(&self, _: Vec<Entry>) -> Option<Vec<Entry>> {
        None
    }

    async fn load(
        &self,
        _: &mut PgConnection,
        _: &Schema,
        _: &[&StreamId],
    ) -> Result<Vec<(usize, Vec<Entry>)>, sqlx::Error> {
        Ok(vec![])
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, Vec<Entry>>],
    ) -> Result<(), WriteError> {
        let mut rows = Rows::default();
        for change in changes {
            let written = change.before.map_or(0, Vec::len);
            for entry in change.after.iter().skip(written) {
                rows.push(change.stream, entry);
            }
        }
        rows.write(connection, schema).await
    }
}

#[derive(Default)]
struct Rows {
    tenant_id: Vec<String>,
    order_id: Vec<uuid::Uuid>,
    sequence: Vec<i64>,
    event_type: Vec<&'static str>,
    from_status: Vec<Option<&'static str>>,
    status: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    actor: Vec<Option<String>>,
    occurred_at: Vec<chrono::DateTime<chrono::Utc>>,
    recorded_at: Vec<chrono::DateTime<chrono::Utc>>,
}

impl Rows {
    fn push(&mut self, stream: &StreamId, entry: &Entry) {
        self.tenant_id.push(tenant_text(stream.tenant()));
        self.order_id.push(entry.order_id.0);
        self.sequence.push(entry.sequence.0);
        self.event_type.push(entry.event_type);
        self.from_status.push(entry.from_status.map(OrderStatus::as_str));
        self.status.push(entry.status.as_str());
        self.reason.push(entry.reason.map(Reason::as_str));
        self.actor.push(entry.actor.clone());
        self.occurred_at.push(entry.occurred_at.as_datetime());
        self.recorded_at.push(entry.recorded_at.as_datetime());
    }

    async fn write(&self, connection: &mut PgConnection, schema: &Schema) -> Result<(), WriteError> {
        if self.order_id.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO {schema}.entries
                (tenant_id, order_id, sequence, event_type, from_status, status, reason, actor, occurred_at,
                 recorded_at)
             SELECT * FROM unnest(
                 $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::timestamptz[], $10::timestamptz[])
             ON CONFLICT (tenant_id, order_id, sequence) DO UPDATE SET
                event_type = excluded.event_type, from_status = excluded.from_status, status = excluded.status,
                reason = excluded.reason, actor = excluded.actor, occurred_at = excluded.occurred_at,
                recorded_at = excluded.recorded_at"
        );
        sqlx::query(&sql)
            .bind(&self.tenant_id)
            .bind(&self.order_id)
            .bind(&self.sequence)
            .bind(&self.event_type)
            .bind(&self.from_status)
            .bind(&self.status)
            .bind(&self.reason)
            .bind(&self.actor)
            .bind(&self.occurred_at)
            .bind(&self.recorded_at)
            .execute(connection)
            .await?;
        Ok(())
    }
}
