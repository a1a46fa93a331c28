//! Exports and replays of logs in a real PostgreSQL, held against what SQL says of them.

mod exporting;
mod interop;
mod replaying;
mod resuming;
mod support;
