//! What an order is: ids, money, events, and the rules that turn a command into events.
//!
//! Nothing here performs I/O, reads a clock or draws a random number. Time and ids come in with
//! the command, so that the same command against the same state always decides the same events.
//!
//! Each aggregate has the same four parts: `command` (what is asked), `event` (what happened, as
//! stored), `decide` (command + state -> events or a refusal) and `state` (events -> state). The
//! `Aggregate` implementations only adapt these to `cqrs-es`.

mod aggregate;
pub mod establishment;
mod event;
pub mod ids;
pub mod metadata;
pub mod money;
pub mod order;
mod personal;
pub mod product;
pub mod tax;
mod text;
pub mod time;
mod upcast;

pub use event::{DecodeError, Event, EventType, Numbering, StoredEvent};
pub use ids::{
    ActorId, AggregateType, CustomerId, EstablishmentId, EventId, IdError, LineId, ModifierId, OrderId, OrderNumber,
    ProductId, Sequence, StreamId, TableId, TenantId,
};
pub use metadata::Metadata;
pub use money::{Amount, Currency, Money, MoneyError};
pub use personal::Personal;
pub use tax::{TaxMode, TaxRate, TaxRule};
pub use text::{MAX_TEXT_LEN, Text, TextError};
pub use time::{BusinessDate, TimeZone, Timestamp};
pub use upcast::upcasters;

/// A refusal by a rule: what every `decide` error can tell a client.
///
/// The code is stable and documented; the detail is for people and may change.
pub trait Refusal: std::error::Error {
    /// Stable machine-readable code, `snake_case`.
    fn code(&self) -> &'static str;
    /// JSON pointer (RFC 6901) to the offending part of the command, where one part is to blame.
    fn pointer(&self) -> Option<String> {
        None
    }
}
