//! Parameters that several routes share.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::wire::{EventTypeName, Id, Instant, Position};

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

/// Which events are asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Only events after this place: the `Comanda-Position` of an earlier answer.
    #[param(value_type = Option<Position>)]
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
    /// At most this many; fewer may come while there are more: go on from `Comanda-Position`.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}
