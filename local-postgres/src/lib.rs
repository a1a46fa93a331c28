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
//! A [`Standby`] of a running server is a copy that follows it and answers queries:
//!
//! ```no_run
//! # async fn up(server: &local_postgres::Server) -> Result<(), local_postgres::Error> {
//! use local_postgres::{Config, Standby};
//! let standby = Standby::start(server, "reads_1", Config::new("data/reads_1")).await?;
//! println!("{} {:?}", standby.url("control"), standby.pid());
//! standby.kill().await?; // as a power cut; stays down
//! standby.restart().await?; // and catches up
//! standby.freeze(); // hangs, with its connections open
//! standby.thaw();
//! standby.promote().await?; // a server of its own from now on
//! standby.stop().await
//! # }
//! ```
//!
//! `kill`, `restart`, `freeze` and `thaw` are [`Server`]'s as well. With
//! [`Config::tls`] nobody gets in without TLS, and [`Server::url`] checks the
//! server's certificate. [`testing::Replicated`] is a primary with standbys for tests.
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
mod recovery;
mod secret;
mod server;
mod settings;
mod standby;
mod supervisor;
pub mod testing;
mod tls;

pub use error::Error;
pub use folder::{DataFolder, Located, locate, located_before};
pub use recovery::{RecoverUntil, Recovery, programs};
pub use server::{Config, Server};
pub use settings::Durability;
pub use standby::Standby;
pub use supervisor::State;
pub use tls::Tls;
