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
    ///
    /// Where a later incarnation goes back, the slot's shard was restored or promoted, and what came
    /// beyond is void. How far back it goes, only the shard knows, so what comes then counts as new.
    pub(super) fn pass(&mut self, event: &RecordedEvent) -> bool {
        let token = event.token();
        let Some(reached) = self.0.get(&event.slot) else {
            self.0.insert(event.slot, token);
            return true;
        };
        let goes_back = token.slot_position <= reached.slot_position;
        let new = token.incarnation > reached.incarnation || (token.incarnation == reached.incarnation && !goes_back);
        if new && goes_back {
            eprintln!(
                "note: slot {} begins incarnation {} at position {}; what was printed from there on is void, or comes \
                 again",
                event.slot, token.incarnation, token.slot_position
            );
        }
        if new {
            self.0.insert(event.slot, token);
        }
        new
    }

    /// Everything up to there was printed, or was not asked for.
    pub(super) fn extend(&mut self, cursor: &Cursor) {
        self.0.extend(cursor.tokens().map(|token| (token.slot, token)));
    }

    pub(super) fn text(&self) -> String {
        let tokens: Vec<String> = self.0.values().map(ToString::to_string).collect();
        tokens.join(",")
    }
}
