//! Sets of slots as they are written on the command line.

use std::collections::BTreeSet;
use std::str::FromStr;

use event_store::Slot;

/// `7`, `0-127`, `0-1020/4` (every fourth), and several of these with commas between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotSet(pub(crate) BTreeSet<Slot>);

impl FromStr for SlotSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut slots = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let problem = || {
                format!(
                    "`{part}` is not a slot (0 to {}) or a range such as 0-127",
                    Slot::COUNT - 1
                )
            };
            let number = |text: &str| {
                let number: u16 = text.trim().parse().map_err(|_| problem())?;
                (number < Slot::COUNT).then_some(number).ok_or_else(problem)
            };
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, number(step)?),
                None => (part, 1),
            };
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(range)?, number(range)?),
            };
            if first > last || step == 0 {
                return Err(problem());
            }
            slots.extend((first..=last).step_by(usize::from(step)).map(Slot));
        }
        Ok(Self(slots))
    }
}

/// The shortest way to write a set of slots that is understood again.
pub(super) fn written(slots: &BTreeSet<Slot>) -> String {
    let numbers: Vec<u16> = slots.iter().map(|slot| slot.0).collect();
    let (mut rest, mut parts) = (numbers.as_slice(), Vec::new());
    while let [first, others @ ..] = rest {
        let step = others.first().map_or(1, |second| second - first);
        let more = rest.windows(2).take_while(|pair| pair[1] - pair[0] == step).count();
        let (text, taken) = match (step, more) {
            (1, 1..) => (format!("{first}-{}", rest[more]), more + 1),
            (_, 2..) => (format!("{first}-{}/{step}", rest[more]), more + 1),
            _ => (first.to_string(), 1),
        };
        parts.push(text);
        rest = &rest[taken..];
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_and_written_again() {
        for (text, count) in [
            ("7", 1),
            ("0-127", 128),
            ("0-1020/4", 256),
            ("1,3,5-6", 4),
            ("0-1023", 1024),
        ] {
            let set: SlotSet = text.parse().unwrap();
            assert_eq!(set.0.len(), count, "{text}");
            assert_eq!(written(&set.0).parse::<SlotSet>().unwrap(), set, "{text}");
        }
        assert_eq!(written(&"2,1,0,9,12,15".parse::<SlotSet>().unwrap().0), "0-2,9-15/3");
    }

    #[test]
    fn what_is_no_set_of_slots_is_refused() {
        for text in ["", "1024", "-1", "5-2", "a", "1,,2", "0-8/0", "1-2-3"] {
            assert!(text.parse::<SlotSet>().is_err(), "{text}");
        }
    }
}
