//! HTTP as every process serves it: each request observed and guarded, each connection drained
//! before the process ends.

mod context;
mod guard;
mod observe;
mod serve;

pub use context::{RequestContext, TRACEPARENT, X_REQUEST_ID};
pub use guard::harden;
pub use serve::{Served, serve};
