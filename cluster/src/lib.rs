//! The whole platform as a cluster of processes on one machine, without Docker: to try things on,
//! and for tests that end its parts one by one.
//!
//! ```no_run
//! # async fn up() -> Result<(), cluster::Error> {
//! use cluster::{Cluster, Config};
//! let config = Config::new(".comanda", "target/release/comanda", ".tools/kafka/lib");
//! let cluster = Cluster::start(config).await?;
//! println!("{}", cluster.url());
//! cluster.process("command-api-1")?.kill().await?;
//! cluster.process("command-api-1")?.restart().await?;
//! cluster.postgres("read-1")?.freeze();
//! cluster.postgres("read-1")?.thaw();
//! cluster.await_ready().await?;
//! cluster.stop().await
//! # }
//! ```
//!
//! Guarantee: when the [`Cluster`] is stopped or dropped, or its process ends in whatever way,
//! nothing that it started goes on running. Data and settings stay in the folder, and the next
//! start goes on from there. `docs/cluster.md` shows the topology.

mod cluster;
mod config;
mod error;
mod folder;
mod info;
mod leftovers;
mod memory;
mod nginx;
mod ports;
mod postgres;
mod process;
mod ready;
mod secrets;
mod settings;
mod watch;

pub use cluster::Cluster;
pub use config::{Config, Role};
pub use error::Error;
pub use folder::Folder;
pub use info::{Databases, Info, Kafka, ProcessInfo, ShardStandby};
pub use leftovers::clear;
pub use memory::{Memory, of_cluster as memory_of};
pub use nginx::Gateway;
pub use postgres::Postgres;
pub use process::Process;
pub use settings::Topology;
