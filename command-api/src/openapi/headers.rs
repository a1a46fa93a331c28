//! Parameters that several routes share.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::wire::{Cursor, EventTypeName, Id, Instant, Position};

/// What a create takes beside its body.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct CommandHeaders {
    /// Names this attempt, so that repeating it is safe: 1 to 255 printable ASCII characters, bare or quoted.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = r#"^[!#-~]([ !#-~]*[!#-~])?$"#
    )]
    idempotency_key: Option<String>,
    /// How far the client has read: the command is judged by no less.
    #[param(rename = "Comanda-Position", value_type = Option<Position>)]
    position: Option<String>,
}

/// What is judged by no less than the client has read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct PositionHeader {
    /// How far the client has read: the request is judged by no less.
    #[param(rename = "Comanda-Position", value_type = Option<Position>)]
    position: Option<String>,
}

/// What a change of something existing takes beside its body.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct ConditionalHeaders {
    /// Names this attempt, so that repeating it is safe: 1 to 255 printable ASCII characters, bare or quoted.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = r#"^[!#-~]([ !#-~]*[!#-~])?$"#
    )]
    idempotency_key: Option<String>,
    /// The version that must be stored, as its `ETag`.
    #[param(rename = "If-Match", pattern = r#"^"[0-9]{1,9}"$"#)]
    if_match: Option<String>,
}

/// What a definition takes beside its body.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct CatalogueHeaders {
    /// Names this attempt, so that repeating it is safe: 1 to 255 printable ASCII characters, bare or quoted.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = r#"^[!#-~]([ !#-~]*[!#-~])?$"#
    )]
    idempotency_key: Option<String>,
    /// The version that must be stored, as its `ETag`.
    #[param(rename = "If-Match", pattern = r#"^"[0-9]{1,9}"$"#)]
    if_match: Option<String>,
    /// `*`: only where nothing is stored yet.
    #[param(rename = "If-None-Match", pattern = r"^\*$")]
    if_none_match: Option<String>,
}

/// What a read takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct ReadHeaders {
    /// The version that the reader has, as its `ETag`: answered 304 while it is current.
    #[param(rename = "If-None-Match", pattern = r#"^"[0-9]{1,9}"$"#)]
    if_none_match: Option<String>,
}

/// Names an order. What is not a UUID names no order: 404.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct OrderPath {
    #[param(format = Uuid, example = super::examples::order_id)]
    id: String,
}

/// Names an establishment by the id its client chose. Reading what cannot be an id answers 404,
/// defining it 400.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct EstablishmentPath {
    #[param(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9._-]{1,64}$",
        example = "roma"
    )]
    id: String,
}

/// Names a product by the id its client chose. Reading what cannot be an id answers 404, defining
/// it 400.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct ProductPath {
    #[param(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9._-]{1,64}$",
        example = "espresso"
    )]
    id: String,
}

/// Which of a thing's past states is asked for; the present one where neither is named.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// As it was left by its event of this sequence.
    #[param(value_type = Option<i64>, minimum = 1)]
    pub version: Option<String>,
    /// As it was once everything recorded up to this time had happened.
    #[param(value_type = Option<Instant>)]
    pub as_of: Option<String>,
}

/// What a client of server-sent events sends.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the document only")]
pub(crate) struct StreamHeaders {
    /// The `id` of the last event that a stream gave: another goes on behind it. Goes before `after`.
    #[param(rename = "Last-Event-ID", value_type = Option<Position>)]
    last_event_id: Option<String>,
}

/// Which events are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Only events after this place: the `Comanda-Position` of an earlier answer, or `now`.
    #[param(value_type = Option<Cursor>)]
    pub after: Option<String>,
    /// Only events of this type.
    #[serde(rename = "type")]
    #[param(rename = "type", value_type = Option<EventTypeName>)]
    pub event_type: Option<String>,
    #[param(value_type = Option<Id>)]
    pub establishment_id: Option<String>,
    #[param(format = Uuid)]
    pub order_id: Option<String>,
    /// Only events recorded at or after this time.
    #[param(value_type = Option<Instant>)]
    pub from: Option<String>,
    /// Only events recorded before this time.
    #[param(value_type = Option<Instant>)]
    pub to: Option<String>,
    /// At most this many, 1 to 1,000; fewer may come while there are more: go on from
    /// `Comanda-Position`. Of a stream any number; it has no end where this is left out.
    #[param(minimum = 1)]
    pub limit: Option<u32>,
}
