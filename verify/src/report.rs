//! What was found.

use std::collections::BTreeMap;
use std::fmt;

use domain::{Sequence, TenantId};
use event_store::{Slot, SlotPosition};

use crate::digest::Digest;

/// How many differences are described; the others are only counted.
pub const MAX_DIFFERENCES: usize = 1_000;

/// What verifying came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Slots in which there was something to look at.
    pub slots: u64,
    /// Tenants with rows.
    pub tenants: u64,
    /// Rows compared.
    pub rows: u64,
    /// Events folded.
    pub events: u64,
    /// Ordered by read model, generation, slot, table and key; at most [`MAX_DIFFERENCES`].
    pub differences: Vec<Difference>,
    /// Differences that are not described.
    pub omitted: u64,
    /// What the rows of each read model and tenant hash to, as they are. Where two generations of a
    /// read model are verified in one run, those of the later one.
    pub fingerprints: BTreeMap<(String, TenantId), Fingerprint>,
}

impl Report {
    /// Whether the read models are what the log says.
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.omitted == 0
    }
}

/// A tenant's rows of one read model in short. Two generations that stand at the same position hold
/// the same rows exactly if their fingerprints are equal.
///
/// The sum modulo 2^128 of what its rows hash to (SHA-256, cut to 128 bits, over the table's place in
/// the read model, the key, and every column but generated ones), so the order of rows is of no matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// How far the rows have read the tenant's slot.
    pub at: SlotPosition,
    pub rows: u64,
    sum: u128,
}

impl Fingerprint {
    pub(crate) fn at(at: SlotPosition) -> Self {
        Self { at, rows: 0, sum: 0 }
    }

    pub(crate) fn add(&mut self, row: Digest) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row.0);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

/// One row that is not what the log says, or a checkpoint that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub read_model: String,
    pub generation: i32,
    /// `None` where what stands as the tenant can be none.
    pub slot: Option<Slot>,
    pub table: &'static str,
    /// Under which the row stands or should. Not a [`TenantId`], because what stands there may be none.
    pub tenant: String,
    /// The key's other columns.
    pub key: Vec<(&'static str, String)>,
    pub kind: Kind,
    /// Why, as far as it can be told.
    pub why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The log makes a row here, and there is none.
    Missing,
    /// There is a row, and the log makes none.
    Extra,
    /// The row differs in these columns.
    Changed(Vec<ColumnDifference>),
    /// The row stands under the wrong tenant.
    OtherTenant { belongs_to: TenantId },
    /// The read model has read what the log does not have (any more).
    CheckpointAhead {
        checkpoint: SlotPosition,
        /// The last position that it and the log have in common.
        agreed: SlotPosition,
    },
    /// A generation has a checkpoint for every slot; this one has none.
    CheckpointMissing,
    /// An event that nobody can read, and the stream is not parked there.
    NotParked { sequence: Sequence },
    /// A second look, a moment later, found the row right: it was written in between.
    Fleeting,
}

impl Kind {
    /// A stable name, `snake_case`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed(_) => "changed",
            Self::OtherTenant { .. } => "other_tenant",
            Self::CheckpointAhead { .. } => "checkpoint_ahead",
            Self::CheckpointMissing => "checkpoint_missing",
            Self::NotParked { .. } => "not_parked",
            Self::Fleeting => "fleeting",
        }
    }
}

/// A column, or a part of a JSON column (`items[0].quantity`). `None` is null, or absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDifference {
    pub column: String,
    pub expected: Option<String>,
    pub found: Option<String>,
}

impl fmt::Display for ColumnDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let (expected, found) = (shown(&self.expected), shown(&self.found));
        write!(f, "{} is {found}, the log says {expected}", self.column)
    }
}

impl Difference {
    /// The key as people read it: `order_id=… sequence=3`.
    pub fn key_text(&self) -> String {
        let parts: Vec<String> = self.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.join(" ")
    }

    /// What is wrong, in one line, without the place.
    pub fn what(&self) -> String {
        match &self.kind {
            Kind::Missing => "the row is missing".to_owned(),
            Kind::Extra => "there is a row that the log does not make".to_owned(),
            Kind::Changed(columns) => columns.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Kind::OtherTenant { belongs_to } => format!("the row belongs to tenant {belongs_to}"),
            Kind::CheckpointAhead { checkpoint, agreed } => {
                format!("the checkpoint says {checkpoint}; the log goes with it to {agreed}")
            }
            Kind::CheckpointMissing => "there is no checkpoint".to_owned(),
            Kind::NotParked { sequence } => format!("event {sequence} cannot be read, and the stream is not parked"),
            Kind::Fleeting => "the row was wrong, and was written before a second look".to_owned(),
        }
    }
}

/// One line: where, what, and why.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (read_model, table, generation) = (&self.read_model, self.table, self.generation);
        write!(f, "{read_model}.{table} (generation {generation})")?;
        if !self.tenant.is_empty() {
            write!(f, ", tenant {}", self.tenant)?;
        }
        if !self.key.is_empty() {
            write!(f, ", {}", self.key_text())?;
        }
        write!(f, ": {}", self.what())?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}
