//! Backups of the whole platform in a folder, by PostgreSQL's own means: base backups and an
//! unbroken archive of the log of every server.
//!
//! ```text
//! DIR/servers/<server>/archive.json   one server's unbroken log: which server, which slot
//! DIR/servers/<server>/wal/           its segments, written by pg_receivewal
//! DIR/backups/<id>/<server>/          a base backup (pg_basebackup, plain), with PostgreSQL's manifest
//! DIR/backups/<id>/manifest.json      written last: a backup without it never happened
//! DIR/backups/<id>/keys/              what a local platform needs to start again
//! ```
//!
//! An archive is kept unbroken by a replication slot: the server holds back what has not been
//! archived, up to its `max_slot_wal_keep_size`. A slot lost beyond that, or a server on another
//! timeline, ends the archive; the next one begins, and needs a base backup of its own.
//!
//! Whoever reads the folder reads everything that was ever ordered: it is made for its owner only.

mod archive;
mod base;
mod check;
mod edge;
mod error;
mod folder;
mod manifest;
mod programs;
mod prune;
mod receive;
mod restore;
mod server;
mod state;

pub use archive::Archive;
pub use base::{Taking, take};
pub use check::{Checked, Problem, check};
pub use error::Error;
pub use folder::Folder;
pub use manifest::{DatabaseKind, DatabaseRecord, Head, Manifest, ServerRecord, ShardRecord};
pub use prune::{Pruned, prune};
pub use receive::Receiver;
pub use restore::{Until, choose, recover};
pub use server::{DatabaseAt, ServerAt, servers};
pub use state::ArchiveState;
