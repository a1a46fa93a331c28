//! What rows and keys hash to.
//!
//! A digest is the first 16 bytes of a SHA-256 over values that carry their lengths, so that no two
//! rows share one by accident or by somebody's design. A row's is made in two steps, of the columns
//! that are written once and of those that events change, so that folding an order needs to remember
//! the first only as a digest.

use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(pub(crate) u128);

/// A row's place: table, tenant and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowKey(pub(crate) Digest);

impl RowKey {
    pub(crate) fn new<'a>(table: usize, tenant: &str, key: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Hash::new("key");
        hash.number(table as u64);
        hash.value(Some(tenant));
        key.into_iter().for_each(|part| hash.value(Some(part)));
        Self(hash.finish())
    }
}

/// A row, its key left out.
pub(crate) fn row(fixed: Digest, moving: &[Option<String>]) -> Digest {
    let mut hash = Hash::new("row");
    hash.digest(fixed);
    moving.iter().for_each(|value| hash.value(value.as_deref()));
    hash.finish()
}

/// The columns of a row that are written once.
pub(crate) fn fixed(columns: &[Option<String>]) -> Digest {
    let mut hash = Hash::new("fixed");
    columns.iter().for_each(|value| hash.value(value.as_deref()));
    hash.finish()
}

/// Key and content, for fingerprints.
pub(crate) fn whole(key: RowKey, row: Digest) -> Digest {
    let mut hash = Hash::new("whole");
    hash.digest(key.0);
    hash.digest(row);
    hash.finish()
}

struct Hash(Sha256);

impl Hash {
    fn new(purpose: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.value(Some(purpose));
        hash
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn digest(&mut self, digest: Digest) {
        self.0.update(digest.0.to_be_bytes());
    }

    fn value(&mut self, value: Option<&str>) {
        // No text is as long as what stands for null.
        self.number(value.map_or(u64::MAX, |text| text.len() as u64));
        self.0.update(value.unwrap_or_default().as_bytes());
    }

    fn finish(self) -> Digest {
        let digest = self.0.finalize();
        let high = digest.iter().take(16);
        Digest(high.fold(0, |number, byte| (number << 8) | u128::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn values_that_run_into_each_other_differ() {
        assert_ne!(fixed(&[text("ab"), text("c")]), fixed(&[text("a"), text("bc")]));
        assert_ne!(fixed(&[text("")]), fixed(&[None]));
        assert_ne!(fixed(&[]), fixed(&[None]));
        assert_ne!(RowKey::new(0, "a", ["b"]), RowKey::new(1, "a", ["b"]));
        assert_ne!(RowKey::new(0, "a", ["b"]), RowKey::new(0, "b", ["a"]));
    }
}
