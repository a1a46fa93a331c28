//! Whether read models are what the log says.
//!
//! Slot by slot, the rows and the checkpoint of each read model are read in one snapshot, the log is
//! folded to exactly that checkpoint, and every row is held against the fold. The fold is written a
//! second time here, on purpose: it shares nothing with the projector but the events' types, so that a
//! mistake in the one is seen by the other.
//!
//! Guarantee: of the slots looked at, every row that is missing, too many, or different in any column
//! is counted, and the first [`MAX_DIFFERENCES`] are described. A read model that lags differs in
//! nothing. Streams that are parked are expected as they stood before their first parked event.
//!
//! Nothing is locked and nothing is written, so it may run against a store that serves, and against a
//! standby; a standby that cancels a snapshot is asked again. A crash leaves nothing behind. Not needed
//! for correctness: a quiet log, or projectors that run.
//!
//! Memory: what rows and streams hash to, some 60 bytes a row and 100 an order, of the slots that are
//! looked at at the same time ([`Scope::workers`]); never the rows themselves, but for those described.

mod digest;
mod error;
mod examine;
mod explain;
mod json;
mod matcher;
mod models;
mod report;
mod run;
mod snapshot;
mod table;
mod target;
mod tenants;

pub use error::Error;
pub use report::{ColumnDifference, Difference, Fingerprint, Kind, MAX_DIFFERENCES, Report};
pub use run::{Progress, Scope, run, run_observed};
pub use target::Target;
