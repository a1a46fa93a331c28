//! Limits on what one request may ask for, judged before anything walks its document at length.
//!
//! Guarantee: whatever the bytes, judging takes time and stack linear in the document. `scan` reads
//! the text once, without recursion, and bounds size, tokens and nesting before the parser (which
//! recurses) sees it. `measure` works out what the document expands to, each fragment once, before
//! validation and execution (which expand every spread) run: a few nested fragments can stand for
//! billions of fields.

mod measure;
mod scan;
mod weight;

use async_graphql::ServerError;
use service::settings::QuerySettings;

pub(crate) use measure::{Measured, Question, measure, operation};
pub(crate) use scan::scan;

use crate::error::{Code, request_error};

/// The limits of this process.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Length of a document in bytes.
    pub(crate) document_bytes: usize,
    pub(crate) tokens: usize,
    /// Open brackets of any kind; stays below what the parser can nest.
    pub(crate) nesting: usize,
    /// Fields the whole document expands to.
    pub(crate) fields: u64,
    pub(crate) depth: u64,
    /// Of introspection, which the usual tools nest 15 deep.
    pub(crate) introspection_depth: u64,
    pub(crate) cost: u64,
    pub(crate) root_fields: u64,
    pub(crate) aliases: u64,
    pub(crate) directives: u64,
    pub(crate) page_size: u32,
    pub(crate) page_size_max: u32,
    /// Days that `dailySales` may span.
    pub(crate) days: u32,
}

impl Limits {
    pub(crate) fn new(settings: &QuerySettings) -> Self {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let size = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).clamp(1, 1_000);
        let page_size_max = size(settings.page_size_max);
        Self {
            document_bytes: 32 * 1024,
            tokens: 4_000,
            nesting: 50,
            fields: 2_000,
            depth: wide(settings.max_depth),
            introspection_depth: 20,
            cost: wide(settings.max_complexity),
            root_fields: wide(settings.max_root_fields),
            aliases: wide(settings.max_aliases),
            directives: 50,
            page_size: size(settings.page_size).min(page_size_max),
            page_size_max,
            days: 1_100,
        }
    }
}

/// A refusal that says which limit, how much it allows and how much was asked for.
fn exceeded(limit: &'static str, allowed: u64, requested: u64, message: String) -> ServerError {
    let mut error = request_error(Code::LimitExceeded, message);
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("limit", limit);
    extensions.set("allowed", allowed);
    // What a bomb expands to can be beyond any integer a client reads.
    extensions.set("requested", requested.min(1 << 53));
    error
}
