//! Holds expected rows against those found, one by one.
//!
//! A row is known by what it hashes to. Whole rows are kept only of those that somebody wants to see:
//! the first look finds out which differ, a second one describes them.

use std::collections::{HashMap, HashSet};

use domain::Sequence;

use crate::digest::{Digest, RowKey};
use crate::report::MAX_DIFFERENCES;
use crate::table::Row;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Missing,
    Extra,
    Changed,
}

/// A row that is not as expected. Rows are there where the key was wanted.
#[derive(Debug)]
pub(crate) struct Differing {
    pub(crate) key: RowKey,
    pub(crate) verdict: Verdict,
    pub(crate) expected: Option<Box<Row>>,
    pub(crate) found: Option<Box<Row>>,
    /// The row is what it was after this event, and there have been others up to that one.
    pub(crate) stale: Option<(Sequence, Sequence)>,
}

#[derive(Debug)]
struct Found {
    row: Digest,
    kept: Option<Box<Row>>,
}

/// The rows of one read model in one slot.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    wanted: HashSet<RowKey>,
    found: HashMap<RowKey, Found>,
    /// What a wanted row was after each event.
    stood: HashMap<RowKey, Vec<(Sequence, Digest)>>,
    differing: Vec<Differing>,
    omitted: u64,
    /// Wanted rows that are as expected.
    settled: Vec<Row>,
}

/// What is left when every expected row was held against those found.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    pub(crate) differing: Vec<Differing>,
    pub(crate) omitted: u64,
    pub(crate) settled: Vec<Row>,
}

impl Matcher {
    pub(crate) fn wanting(wanted: HashSet<RowKey>) -> Self {
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Whether anything is to be described.
    pub(crate) fn describes(&self) -> bool {
        !self.wanted.is_empty()
    }

    pub(crate) fn wants(&self, key: RowKey) -> bool {
        self.wanted.contains(&key)
    }

    /// A row that is there.
    pub(crate) fn found(&mut self, key: RowKey, row: Digest, whole: &Row) {
        let kept = self.wants(key).then(|| Box::new(whole.clone()));
        self.found.insert(key, Found { row, kept });
    }

    /// What a wanted row is after an event.
    pub(crate) fn stood(&mut self, key: RowKey, after: Sequence, row: Digest) {
        self.stood.entry(key).or_default().push((after, row));
    }

    /// A row that has to be there. Once per key.
    pub(crate) fn expect(&mut self, key: RowKey, row: Digest, describe: impl FnOnce() -> Row) {
        let described = || self.wanted.contains(&key).then(describe);
        match self.found.remove(&key) {
            Some(found) if found.row == row => self.settled.extend(described()),
            Some(found) => {
                let expected = described().map(Box::new);
                let stale = self.stale(key, found.row);
                self.differs(key, Verdict::Changed, expected, found.kept, stale);
            }
            None => {
                let expected = described().map(Box::new);
                self.differs(key, Verdict::Missing, expected, None, None);
            }
        }
    }

    fn stale(&self, key: RowKey, row: Digest) -> Option<(Sequence, Sequence)> {
        let stood = self.stood.get(&key)?;
        let (last, _) = stood.last()?;
        let (after, _) = stood.iter().rev().find(|(_, digest)| *digest == row)?;
        Some((*after, *last))
    }

    fn differs(
        &mut self,
        key: RowKey,
        verdict: Verdict,
        expected: Option<Box<Row>>,
        found: Option<Box<Row>>,
        stale: Option<(Sequence, Sequence)>,
    ) {
        if self.differing.len() < MAX_DIFFERENCES {
            self.differing.push(Differing {
                key,
                verdict,
                expected,
                found,
                stale,
            });
        } else {
            self.omitted += 1;
        }
    }

    /// Rows that nothing was expected of are too many.
    pub(crate) fn finish(mut self) -> Matched {
        for (key, found) in std::mem::take(&mut self.found) {
            self.differs(key, Verdict::Extra, None, found.kept, None);
        }
        Matched {
            differing: self.differing,
            omitted: self.omitted,
            settled: self.settled,
        }
    }
}
