//! The log as a file, a table or a replayed stream, for analysts.
//!
//! An [`export()`] is a prefix of the log, as one JSON document a line, as CSV or as Parquet. A
//! [`replay()`] sends the log once more, at a chosen speed. Both read the shards
//! ([`event_store::Scan`]) and write nothing to them.
//!
//! Order: a slot's events are in order, and so a tenant's and a stream's. Between slots there is none,
//! and none is pretended: what says how far a reader is, is a vector ([`event_store::Cursor`]).

mod columns;
mod error;
mod fields;
mod file;
mod folder;
mod line;
mod manifest;
mod part;
mod replay;
mod run;
mod selection;

pub use columns::{COLUMNS, Column, Kind};
pub use error::Error;
pub use line::Line;
pub use manifest::Manifest;
pub use part::{EventWriter, Format, Output};
pub use replay::{HttpReceiver, Mode, Pace, Receiver, ReplayProgress, ReplayRequest, replay};
pub use run::{Exported, Progress, ROUND_EVENTS, Request, Target, export};
