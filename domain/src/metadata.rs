//! What travels beside an event's payload: a flat map of strings, readable by any consumer.

use std::collections::HashMap;

/// Names of metadata entries. The first group is set by whoever issues the command; the second is
/// assigned by the event store under its lock and present on everything read back.
pub mod key {
    pub const TENANT_ID: &str = "tenant_id";
    pub const EVENT_ID: &str = "event_id";
    /// Where it happened, so that readers can filter without opening payloads.
    pub const ESTABLISHMENT_ID: &str = "establishment_id";
    /// When it happened by the device's clock, RFC 3339.
    pub const OCCURRED_AT: &str = "occurred_at";
    pub const ACTOR: &str = "actor";
    pub const CORRELATION_ID: &str = "correlation_id";
    pub const CAUSATION_ID: &str = "causation_id";
    /// The operation that the command was, such as `create_order`: half of a key's scope.
    pub const OPERATION: &str = "operation";
    pub const IDEMPOTENCY_KEY: &str = "idempotency_key";
    /// SHA-256 (hex) of the canonical JSON body as received.
    pub const FINGERPRINT: &str = "fingerprint";

    /// The order number, on an order's first event only.
    pub const NUMBER: &str = "number";
    pub const SLOT: &str = "slot";
    pub const SLOT_POSITION: &str = "slot_position";
    pub const INCARNATION: &str = "incarnation";
    /// When the log recorded it, RFC 3339; never goes back within a slot.
    pub const RECORDED_AT: &str = "recorded_at";
}

/// The map as `cqrs-es` carries it.
pub type Metadata = HashMap<String, String>;
