//! `order_timeline`: one row an event of an order.

use std::collections::HashMap;

use domain::order::{OrderEvent, OrderStatus, Reason};
use domain::{AggregateType, Event, Sequence, metadata};

use super::{Fold, Model, NO_STREAM, Occurred, foreign, order_text, stream_row};
use crate::digest::RowKey;
use crate::matcher::Matcher;
use crate::table::{Holds, PARKED, Row, Table, Type, column};

pub(crate) static MODEL: Model = Model {
    name: "order_timeline",
    reads: AggregateType::Order,
    tables: &[
        Table {
            name: "entries",
            holds: Holds::Stream,
            key: &[column("order_id", Type::Plain), column("sequence", Type::Plain)],
            columns: &[
                column("event_type", Type::Text),
                column("from_status", Type::Text),
                column("status", Type::Text),
                column("reason", Type::Text),
                column("actor", Type::Text),
                column("occurred_at", Type::Time),
                column("recorded_at", Type::Time),
            ],
            fixed: 0,
        },
        PARKED,
    ],
    fold: || Box::<Timeline>::default(),
};

/// Rows are settled by their own events; only where some are to be described is more remembered.
#[derive(Debug, Default)]
struct Timeline {
    last: HashMap<RowKey, Sequence>,
}

impl Fold for Timeline {
    fn apply(&mut self, event: &Occurred<'_>, rows: &mut Matcher) -> Result<(), String> {
        let id = order_text(&event.recorded.stream)?;
        let Event::Order(order_event) = event.event else {
            return Err(foreign());
        };
        if rows.describes() {
            self.last.insert(stream_row(event.tenant(), &id), event.sequence());
        }
        let (from, to, reason, occurred_at) = match order_event {
            OrderEvent::OrderCreated(created) => (None, OrderStatus::Placed, None, created.placed_at),
            OrderEvent::OrderStatusChanged(changed) => {
                (Some(changed.from), changed.to, changed.reason, changed.changed_at)
            }
        };
        let recorded = event.recorded;
        let row = Row {
            table: 0,
            tenant: event.tenant().to_owned(),
            key: vec![id, event.sequence().to_string()],
            columns: vec![
                Some(recorded.event_type.clone()),
                from.map(|status| status.as_str().to_owned()),
                Some(to.as_str().to_owned()),
                reason.map(Reason::as_str).map(str::to_owned),
                recorded.metadata.get(metadata::key::ACTOR).cloned(),
                Some(occurred_at.to_string()),
                Some(recorded.recorded_at.to_string()),
            ],
            note: Some(format!(
                "the log has the event at slot position {}",
                recorded.slot_position
            )),
        };
        rows.expect(row.row_key(), row.digest(&MODEL.tables[0]), || row);
        Ok(())
    }

    fn finish(&mut self, _: &mut Matcher) {}

    fn why_extra(&self, row: &Row) -> Option<String> {
        let last = self.last.get(&stream_row(&row.tenant, row.key.first()?));
        Some(match last {
            Some(last) => format!("the stream ends at sequence {last} up to the checkpoint"),
            None => NO_STREAM.to_owned(),
        })
    }
}
