//! How far each slot was printed, for the command that goes on from there.

use std::collections::BTreeMap;

use event_store::{Cursor, PositionToken, RecordedEvent, Slot};

#[derive(Debug, Clone, Default)]
pub(super) struct Reached(BTreeMap<Slot, PositionToken>);

impl Reached {
    pub(super) fn of(cursor: &Cursor) -> Self {
        Self(cursor.tokens().map(|token| (token.slot, token)).collect())
    }

    /// Notes the event. `false`: it was here before.
    pub(super) fn pass(&mut self, event: &RecordedEvent) -> bool {
        let token = event.token();
        let new = self.0.get(&event.slot).is_none_or(|reached| {
            (reached.incarnation, reached.slot_position) < (token.incarnation, token.slot_position)
                && reached.slot_position < token.slot_position
        });
        if new {
            self.0.insert(event.slot, token);
        }
        new
    }

    pub(super) fn text(&self) -> String {
        let tokens: Vec<String> = self.0.values().map(ToString::to_string).collect();
        tokens.join(",")
    }
}
