//! Signs that a slot's log has grown.
//!
//! They come from the followers of the catalogue, which read every shard's log anyway: so many
//! streams cost the shards no more than one does. A sign may be missing, and may be of what was read
//! already; neither does harm.

use event_store::{Slot, SlotPosition};
use tokio::sync::watch;

/// The last position seen of each slot.
pub(crate) struct Signs(Vec<watch::Sender<SlotPosition>>);

impl Signs {
    pub(crate) fn new() -> Self {
        let slots = (0..Slot::COUNT).map(|_| watch::Sender::new(SlotPosition::default()));
        Self(slots.collect())
    }

    pub(crate) fn show(&self, slot: Slot, position: SlotPosition) {
        if let Some(sign) = self.0.get(usize::from(slot.0)) {
            sign.send_replace(position);
        }
    }

    /// `None` for a slot that there is not.
    pub(super) fn of(&self, slot: Slot) -> Option<watch::Receiver<SlotPosition>> {
        self.0.get(usize::from(slot.0)).map(watch::Sender::subscribe)
    }
}
