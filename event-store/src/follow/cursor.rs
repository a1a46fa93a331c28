//! How far a reader of all shards has come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::ids::{Incarnation, Slot, SlotPosition};
use crate::token::{PositionToken, TokenError};

/// How far each slot was read; a slot that it lacks was not read at all. Written as position tokens
/// with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<Slot, (Incarnation, SlotPosition)>);

impl Cursor {
    /// How far a slot was read.
    pub fn position(&self, slot: Slot) -> SlotPosition {
        self.0.get(&slot).map_or(SlotPosition(0), |(_, position)| *position)
    }

    pub fn tokens(&self) -> impl Iterator<Item = PositionToken> + '_ {
        self.0.iter().map(|(slot, (incarnation, slot_position))| PositionToken {
            slot: *slot,
            incarnation: *incarnation,
            slot_position: *slot_position,
        })
    }

    /// Notes how far a slot was read, whatever was noted of it before.
    pub fn set(&mut self, token: PositionToken) {
        self.0.insert(token.slot, (token.incarnation, token.slot_position));
    }

    /// Takes over what `later` says of the slots that it knows.
    pub fn extend(&mut self, later: &Self) {
        later.tokens().for_each(|token| self.set(token));
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.tokens().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{token}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut cursor = Self::default();
        for token in text.split(',').filter(|_| !text.is_empty()) {
            cursor.set(token.parse()?);
        }
        Ok(cursor)
    }
}
