//! Cursors of connections: where in a list a row stands, and which list it was.
//!
//! A cursor is the row's sort key behind a tag over the key and everything that shaped the list
//! (its name, tenant, establishment, filter). A cursor of another list, another filter or another
//! tenant, and whatever a client made up, does not match its tag and is refused instead of paging
//! from a wrong place. The tag protects against mistakes, not secrets: tenant isolation never rests
//! on it, every statement filters by tenant.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error};

const FORMAT: u8 = 1;
const TAG_LEN: usize = 8;

/// A sort key that fits in a cursor.
pub(crate) trait CursorKey: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// Everything that shapes a list, digested. Cursors of one list are valid in no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListShape([u8; 32]);

impl ListShape {
    pub(crate) fn new(list: &str, tenant: &domain::TenantId) -> Self {
        Self(Sha256::digest(list).into()).with(tenant.as_str())
    }

    /// Adds one more argument that shapes the list. Order matters, boundaries are kept.
    #[must_use]
    pub(crate) fn with(self, part: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(part);
        Self(hash.finalize().into())
    }

    #[must_use]
    pub(crate) fn with_option(self, part: Option<&str>) -> Self {
        match part {
            Some(part) => self.with("some").with(part),
            None => self.with("none"),
        }
    }

    pub(crate) fn cursor(&self, key: &impl CursorKey) -> String {
        let key = key.to_bytes();
        let mut bytes = Vec::with_capacity(1 + TAG_LEN + key.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.tag(&key));
        bytes.extend_from_slice(&key);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn key<K: CursorKey>(&self, cursor: &str) -> Result<K, Error> {
        self.decode(cursor).ok_or_else(|| {
            Error::refused(
                Code::InvalidCursor,
                "This cursor is not of this list. Cursors come from `edges.cursor` or `pageInfo` of the same list \
                 with the same arguments.",
            )
        })
    }

    fn decode<K: CursorKey>(&self, cursor: &str) -> Option<K> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (&format, rest) = bytes.split_first()?;
        let (tag, key) = rest.split_at_checked(TAG_LEN)?;
        if format != FORMAT || tag != self.tag(key) {
            return None;
        }
        K::from_bytes(key)
    }

    fn tag(&self, key: &[u8]) -> [u8; TAG_LEN] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(key);
        let digest: [u8; 32] = hash.finalize().into();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&digest[..TAG_LEN]);
        tag
    }
}

impl CursorKey for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::TenantId;

    fn shape(tenant: &str) -> ListShape {
        ListShape::new("products", &TenantId::new(tenant).unwrap())
    }

    #[test]
    fn given_the_same_list_then_its_cursor_reads_back() {
        let cursor = shape("a").cursor(&"espresso".to_owned());
        assert_eq!(shape("a").key::<String>(&cursor).unwrap(), "espresso");
    }

    #[test]
    fn given_another_list_tenant_or_filter_then_the_cursor_is_refused() {
        let cursor = shape("a").with("bar").cursor(&"espresso".to_owned());
        for other in [
            shape("a"),
            shape("b").with("bar"),
            shape("a").with("ba").with("r"),
            shape("a").with_option(None),
        ] {
            assert!(other.key::<String>(&cursor).is_err());
        }
    }

    #[test]
    fn given_a_changed_or_invented_cursor_then_it_is_refused() {
        let cursor = shape("a").cursor(&"espresso".to_owned());
        let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            assert!(
                shape("a").key::<String>(&URL_SAFE_NO_PAD.encode(&bytes)).is_err(),
                "byte {index}"
            );
            bytes[index] ^= 1;
        }
        for invented in [
            "",
            "x",
            "AQ",
            "!!",
            "MTIz",
            &format!("{cursor}="),
            &cursor[..cursor.len() - 2],
        ] {
            assert!(shape("a").key::<String>(invented).is_err(), "{invented}");
        }
    }
}
