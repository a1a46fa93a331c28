//! Moving a slot to another shard while it takes orders.
//!
//! Guarantee: at every moment at most one shard takes a slot's appends; what was acknowledged is at
//! the target, at the same slot positions, before the target takes the first; and a relay of the
//! target publishes nothing of the slot before the source's relays have published all of theirs.
//! Writers meet [`Error::NotOwned`](crate::Error::NotOwned) between the fence and the opening, for
//! [`MoveOptions::max_pause`] at most while a mover lives; else the move is undone.
//!
//! On a crash between any two steps the move stands in the control database, and any mover goes on
//! with it or undoes it. A slot whose mover died behind the fence stays shut until then. One update of
//! one row decides between opening and undoing, so two movers of one slot, of which one believes the
//! other dead, cannot do both; each thing done to a shard names its move and an ownership, and one that
//! comes late finds itself refused.
//!
//! Not needed for correctness: the lock that keeps two movers from doing the same work twice; the
//! copying before the fence, which only makes the pause short; and the control database's placement,
//! which is a hint for processes.

mod drain;
mod fault;
mod hand_over;
mod mover;
mod plan;
mod record;
mod source;
mod step;
mod target;
mod verify;
mod work;

use std::time::Duration;

pub use self::fault::MoveFault;
pub use self::mover::{MoveEnd, Mover, PlannedMoves};
pub use self::plan::{ProposedMove, SlotLoad, propose_moves, shard_loads, shares};
pub use self::record::{Move, MoveId, MoveState, recorded_moves, unfinished_moves};
pub use self::step::Step;

/// How slots are moved.
#[derive(Debug, Clone)]
pub struct MoveOptions {
    /// The longest that a slot may take no appends; a move that would take longer is undone.
    pub max_pause: Duration,
    /// How long to wait, before the fence, for relays that have not published what is there.
    pub relay_patience: Duration,
    /// Topics that are published no more: nothing waits for their relays.
    pub abandoned_topics: Vec<String>,
    /// Planted by tests only.
    pub fault: Option<MoveFault>,
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            max_pause: Duration::from_secs(2),
            relay_patience: Duration::from_secs(30),
            abandoned_topics: Vec::new(),
            fault: None,
        }
    }
}
