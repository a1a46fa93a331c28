//! A PostgreSQL server that this process starts, supervises and stops.
mod account;
mod binaries;
mod cluster;
mod error;
mod folder;
mod port;
mod postmaster;
mod secret;
mod settings;
pub mod testing;

pub use error::Error;
pub use folder::{DataFolder, Located, locate, located_before};
