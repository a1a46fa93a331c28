//! What a selection amounts to.

/// The measure of a selection set, every fragment in it expanded. All sums saturate: a document
/// can stand for more fields than any integer counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) fields: u64,
    pub(super) depth: u64,
    pub(super) aliases: u64,
    pub(super) directives: u64,
    /// Objects in the answer that do not depend on a page size outside this selection…
    pub(super) fixed: u64,
    /// …and those for each row of the page around it.
    pub(super) per_row: u64,
    /// How deep lists of introspection nest within lists of introspection.
    pub(super) introspection_lists: u64,
    pub(super) timeline: bool,
}

impl Weight {
    /// Both selections side by side.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            fields: self.fields.saturating_add(other.fields),
            depth: self.depth.max(other.depth),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            fixed: self.fixed.saturating_add(other.fixed),
            per_row: self.per_row.saturating_add(other.per_row),
            introspection_lists: self.introspection_lists.max(other.introspection_lists),
            timeline: self.timeline || other.timeline,
        }
    }

    /// The cost of the selection where the page around it has `rows` rows.
    pub(super) fn cost(self, rows: u64) -> u64 {
        self.fixed.saturating_add(self.per_row.saturating_mul(rows))
    }
}
