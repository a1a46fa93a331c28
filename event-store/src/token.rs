//! What a command's answer says about where its events are, so that a read can wait for them.

use std::fmt;
use std::str::FromStr;

use cqrs_es::{Aggregate, EventEnvelope};
use domain::metadata::key;

use crate::ids::{Incarnation, Slot, SlotPosition};

/// A place in a slot's log. Written `slot.incarnation.slot_position`, such as `17.1.4711`; opaque
/// to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PositionToken {
    pub slot: Slot,
    pub incarnation: Incarnation,
    pub slot_position: SlotPosition,
}

/// The text is not a token that this platform ever gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a position token as returned in Comanda-Position")]
pub struct TokenError;

impl fmt::Display for PositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.slot, self.incarnation, self.slot_position)
    }
}

impl FromStr for PositionToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(TokenError);
        let token = Self {
            slot: Slot(part()?.parse().map_err(|_| TokenError)?),
            incarnation: Incarnation(part()?.parse().map_err(|_| TokenError)?),
            slot_position: SlotPosition(part()?.parse().map_err(|_| TokenError)?),
        };
        let in_range = token.slot.0 < Slot::COUNT && token.incarnation.0 >= 1 && token.slot_position.0 >= 0;
        // Only the one spelling: no signs, no leading zeros.
        if in_range && token.to_string() == text {
            Ok(token)
        } else {
            Err(TokenError)
        }
    }
}

/// Where a loaded or committed event is; `None` for an envelope that did not come from the log.
pub fn token_of<A: Aggregate>(envelope: &EventEnvelope<A>) -> Option<PositionToken> {
    let entry = |key| envelope.metadata.get(key);
    Some(PositionToken {
        slot: Slot(entry(key::SLOT)?.parse().ok()?),
        incarnation: Incarnation(entry(key::INCARNATION)?.parse().ok()?),
        slot_position: SlotPosition(entry(key::SLOT_POSITION)?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_as_written() {
        let token = PositionToken {
            slot: Slot(17),
            incarnation: Incarnation(2),
            slot_position: SlotPosition(4711),
        };
        assert_eq!(token.to_string(), "17.2.4711");
        assert_eq!("17.2.4711".parse(), Ok(token));
        assert!("0.1.0".parse::<PositionToken>().is_ok());
    }

    #[test]
    fn hand_made_tokens_are_refused() {
        for text in [
            "",
            "17",
            "17.2",
            "17.2.",
            "17.2.3.4",
            "1024.1.1",
            "-1.1.1",
            "17.0.1",
            "17.1.-1",
            "+17.1.1",
            "017.1.1",
            "17.1.01",
            " 17.1.1",
            "17.1.1 ",
            "17,1,1",
            "a.b.c",
            "17.1.9223372036854775808",
            "17.2147483648.1",
        ] {
            assert_eq!(text.parse::<PositionToken>(), Err(TokenError), "{text:?}");
        }
    }
}
