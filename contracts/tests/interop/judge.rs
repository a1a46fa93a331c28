//! Whether what was read is the log.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::log::Stored;
use crate::publishing::PARTITIONS;

/// A record as a reader tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: String,
    /// Those of the CloudEvent but for its time, without prefix.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) time: DateTime<Utc>,
    /// The payload: its text, or what the reader made of it.
    pub(crate) content: Value,
}

impl Seen {
    fn number(&self, name: &str) -> Result<i64, String> {
        let number = self.attributes.get(name).and_then(|it| it.parse().ok());
        number.ok_or_else(|| format!("no {name}: {self:?}"))
    }
}

/// `seen` is in the order of reading; `expected` is how its reader should tell of what is stored.
/// Records may come again, as they were.
pub(crate) fn judge(log: &[Stored], seen: &[Seen], expected: fn(&Stored) -> Seen) -> Result<(), String> {
    let at: BTreeMap<_, _> = log.iter().map(|it| ((it.slot, it.slot_position), it)).collect();
    let mut last = BTreeMap::new();
    for record in seen {
        let (slot, position) = (record.number("slot")?, record.number("slotposition")?);
        let reached = last.entry(slot).or_insert(0);
        if position > *reached + 1 {
            return Err(format!("slot {slot}: {position} came after {reached}"));
        }
        *reached = position.max(*reached);
        let Some(stored) = at.get(&(slot, position)) else {
            return Err(format!("not in the log: {record:?}"));
        };
        let expected = expected(stored);
        if *record != expected {
            return Err(format!("slot {slot}, {position} is {record:?}, not {expected:?}"));
        }
        if i64::from(record.partition) != slot % i64::from(PARTITIONS) {
            return Err(format!("slot {slot} is in partition {}", record.partition));
        }
    }
    for (slot, position) in at.keys() {
        if last.get(slot).is_none_or(|reached| reached < position) {
            return Err(format!("slot {slot}: {position} never came"));
        }
    }
    Ok(())
}
