//! The tenant's events as an endless answer: server-sent events.
//!
//! Guarantee: from where it begins, a stream gives every matching event of the tenant once and in
//! order, and each carries the position from which another stream goes on behind it. It never goes
//! on past something that it cannot vouch for: where the log was restored, the token expired or the
//! process stops, it says so and ends.
//!
//! Flow control: nothing runs for a stream but the polling of its body, so a page is read from the
//! log only when the socket has taken the page before. A client that does not read costs its
//! connection and one page. How many streams there are is bounded, of all and of each tenant.
//!
//! On a crash nothing is lost, for nothing is kept: the client comes back with the last position it
//! saw. Being woken promptly ([`signs`]) is not needed for correctness: a poll finds what was missed.

mod follow;
mod frame;
mod places;
mod signs;

use std::sync::Arc;

use service::settings::CommandSettings;
use service::shutdown::Shutdown;

pub(crate) use self::follow::{EventStream, Start};
use self::places::Places;
pub(crate) use self::signs::Signs;

/// What all streams of a process share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Streams {
    places: Arc<Places>,
    signs: Arc<Signs>,
    /// Ends all of them.
    stop: Shutdown,
}

impl Streams {
    pub(crate) fn new(settings: &CommandSettings, signs: Arc<Signs>) -> Self {
        Self {
            places: Arc::new(Places::new(
                settings.event_streams_max,
                settings.event_streams_per_tenant_max,
            )),
            signs,
            stop: Shutdown::new(),
        }
    }

    pub(crate) fn ended_by(self, stop: Shutdown) -> Self {
        Self { stop, ..self }
    }
}
