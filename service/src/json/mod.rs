//! JSON request bodies: read strictly, refused precisely, fingerprinted canonically.
//!
//! Every body passes the same three gates, in this order: it is UTF-8 (400 `invalid_utf8`), it is
//! JSON without a duplicate key (400 `malformed_json`, `duplicate_key`), and it is what the
//! operation takes (422 `invalid_body`, with a JSON pointer to the part to blame).

mod body;
mod canonical;
mod read;

pub(crate) use body::{BodyLimit, discard};
pub use body::{JsonBody, RawJson};
pub use canonical::{JsonError, canonical, fingerprint};
pub use read::read_json;
