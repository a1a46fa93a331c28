//! Calling `append_events` itself, without the committer in between.

use chrono::{DateTime, NaiveDate, Utc};
use domain::StreamId;
use event_store::Slot;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::fresh_uuid;

/// One event of a batch. Neighbours with the same `append` are one append.
#[derive(Debug, Clone)]
pub(crate) struct RawEvent {
    pub(crate) append: i32,
    pub(crate) slot: i16,
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) expected: i64,
    pub(crate) numbering: Option<(&'static str, NaiveDate)>,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) payload: String,
    pub(crate) metadata: String,
}

impl RawEvent {
    pub(crate) fn of(append: i32, stream: &StreamId, expected: i64) -> Self {
        Self {
            append,
            slot: i16::try_from(Slot::of(stream.tenant()).0).expect("a slot"),
            tenant: stream.tenant().to_string(),
            id: stream.aggregate_id().to_owned(),
            expected,
            numbering: None,
            event_id: fresh_uuid(),
            event_type: "OrderStatusChanged".to_owned(),
            payload: "{}".to_owned(),
            metadata: r#"{"actor":"test"}"#.to_owned(),
        }
    }

    pub(crate) fn numbered(self, establishment: &'static str, date: &str) -> Self {
        Self {
            numbering: Some((establishment, date.parse().expect("a date"))),
            ..self
        }
    }

    pub(crate) fn of_type(self, event_type: &str) -> Self {
        Self {
            event_type: event_type.to_owned(),
            ..self
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Answer {
    pub(crate) append: i32,
    pub(crate) outcome: String,
    pub(crate) sequence: Option<i64>,
    pub(crate) position: Option<i64>,
    pub(crate) slot_position: Option<i64>,
    pub(crate) incarnation: Option<i32>,
    pub(crate) recorded_at: Option<DateTime<Utc>>,
    pub(crate) number: Option<i64>,
}

pub(crate) async fn try_append(
    connection: impl PgExecutor<'_>,
    events: &[RawEvent],
) -> Result<Vec<Answer>, sqlx::Error> {
    fn column<T>(events: &[RawEvent], value: impl Fn(&RawEvent) -> T) -> Vec<T> {
        events.iter().map(value).collect()
    }
    sqlx::query_as("SELECT * FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)")
        .bind(column(events, |event| event.append))
        .bind(column(events, |event| event.slot))
        .bind(column(events, |event| event.tenant.clone()))
        .bind(column(events, |_| "order"))
        .bind(column(events, |event| event.id.clone()))
        .bind(column(events, |event| event.expected))
        .bind(column(events, |event| {
            event.numbering.map(|(establishment, _)| establishment)
        }))
        .bind(column(events, |event| event.numbering.map(|(_, date)| date)))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.event_type.clone()))
        .bind(column(events, |_| "1.0"))
        .bind(column(events, |event| event.payload.clone()))
        .bind(column(events, |event| event.metadata.clone()))
        .fetch_all(connection)
        .await
}

pub(crate) async fn append(connection: &mut PgConnection, events: &[RawEvent]) -> Vec<Answer> {
    try_append(connection, events).await.expect("append_events")
}

/// The SQLSTATE and text that a batch is refused with.
pub(crate) async fn refusal(connection: impl PgExecutor<'_>, events: &[RawEvent]) -> (String, String) {
    let error = try_append(connection, events)
        .await
        .expect_err("should have been refused");
    let error = error.into_database_error().expect("an error of the database");
    (error.code().expect("a code").into_owned(), error.message().to_owned())
}

pub(crate) fn outcomes(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.outcome.as_str()).collect()
}
