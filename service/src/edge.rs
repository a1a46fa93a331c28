//! The two impure things every command needs, time and fresh ids. Edges read them here and pass
//! them inwards as values, so that everything inside can be replayed and tested.

use domain::Timestamp;
use uuid::Uuid;

/// The time by this machine's clock, to the microsecond.
#[expect(clippy::disallowed_methods, reason = "this is the edge where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::new(chrono::Utc::now())
}

/// An id nobody has used before (UUIDv7: ids made later sort later, which keeps indexes dense).
#[expect(clippy::disallowed_methods, reason = "this is the edge where ids are drawn")]
pub fn fresh_id() -> Uuid {
    Uuid::now_v7()
}
