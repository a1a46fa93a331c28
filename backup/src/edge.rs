//! The one place of this crate that reads the clock and draws ids.

use chrono::{DateTime, Utc};
use uuid::Uuid;

#[expect(clippy::disallowed_methods, reason = "a backup is named after the moment it began")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

#[expect(clippy::disallowed_methods, reason = "a slot's name must be no other archive's")]
pub(crate) fn fresh_id() -> Uuid {
    Uuid::new_v4()
}
