//! One type per id and counter of the log.

use std::fmt;

use domain::TenantId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A log of its own: the unit of order, of checkpoints, of tokens and of moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

impl Slot {
    /// How many slots there are, for ever: a tenant's slot follows from it.
    pub const COUNT: u16 = 1024;

    /// The slot that a tenant's events are in: the first eight bytes of the SHA-256 of its id, as
    /// a big-endian number, modulo [`Slot::COUNT`]. Never changes.
    pub fn of(tenant: &TenantId) -> Self {
        let digest = Sha256::digest(tenant.as_str().as_bytes());
        let high = digest
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        // The remainder is below 1024, so it fits.
        Self((high % u64::from(Self::COUNT)) as u16)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// As PostgreSQL's `smallint`, which every slot fits into.
    pub(crate) fn as_i16(self) -> i16 {
        i16::try_from(self.0).unwrap_or(i16::MAX)
    }

    pub(crate) fn from_i16(stored: i16) -> Option<Self> {
        u16::try_from(stored).ok().filter(|slot| *slot < Self::COUNT).map(Self)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident($number:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counters! {
    /// Counts events within one slot: 1, 2, 3… without gaps, in commit order, unchanged by a move.
    /// 0 means "before the first".
    SlotPosition(i64);
    /// Counts events within one shard, in commit order. Serves tailing; means nothing elsewhere.
    Position(i64);
    /// Raised for all slots of a shard that was restored or promoted. Starts at 1.
    Incarnation(i32);
    /// Raised whenever a slot changes hands; the highest wins. Starts at 1.
    Ownership(i64);
    /// A PostgreSQL database of the log.
    ShardId(i16);
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_slot_never_changes() {
        let golden = [
            ("dev", 943),
            ("acme", 160),
            ("a", 458),
            ("tenant-1", 782),
            ("0190c5a0-0000-7000-8000-000000000000", 542),
            ("trattoria.roma_1", 642),
        ];
        for (tenant, slot) in golden {
            assert_eq!(Slot::of(&TenantId::new(tenant).unwrap()), Slot(slot), "{tenant}");
        }
    }

    #[test]
    fn every_slot_is_below_the_count_and_fits_the_column() {
        assert_eq!(Slot::all().count(), 1024);
        assert!(Slot::all().all(|slot| Slot::from_i16(slot.as_i16()) == Some(slot)));
        assert_eq!(Slot::from_i16(1024), None);
        assert_eq!(Slot::from_i16(-1), None);
    }
}
