//! A PostgreSQL server that this process starts, supervises and stops.
//!
//! ```no_run
//! # async fn up() -> Result<(), local_postgres::Error> {
//! use local_postgres::{Config, DataFolder, Server, locate};
//! let located = locate(&DataFolder::Default(".comanda".into()))?;
//! let server = Server::start(Config::new(located.data)).await?;
//! server.ensure_database("control").await?;
//! println!("{}", server.url("control"));
//! server.stop().await
//! # }
//! ```
//!
//! Killed with -9, this process leaves PostgreSQL running; the next start on the
//! same folder adopts it, or ends it where the settings have changed.
mod account;
mod binaries;
mod cluster;
mod error;
mod folder;
mod lock;
mod log;
mod port;
mod postmaster;
mod process;
mod secret;
mod server;
mod settings;
mod supervisor;
pub mod testing;

pub use error::Error;
pub use folder::{DataFolder, Located, locate, located_before};
pub use server::{Config, Server};
pub use supervisor::State;
