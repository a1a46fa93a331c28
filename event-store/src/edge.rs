//! The one place of this crate that draws ids.

use domain::EventId;
use uuid::Uuid;

#[expect(
    clippy::disallowed_methods,
    reason = "an event's id is minted where its append is built, once"
)]
pub(crate) fn fresh_event_id() -> EventId {
    EventId(Uuid::now_v7())
}

/// The id of the `index`th further event of an append, so that one id names the whole append.
pub(crate) fn further_event_id(first: EventId, index: usize) -> EventId {
    EventId(Uuid::new_v5(&first.0, index.to_string().as_bytes()))
}
