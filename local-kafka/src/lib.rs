//! Real Apache Kafka brokers on this machine, without Docker: for tests, and for a cluster to try
//! things on.
//!
//! ```no_run
//! # async fn up() -> Result<(), local_kafka::Error> {
//! use local_kafka::{Cluster, Config};
//! let config = Config::new(".comanda/kafka", ".tools/kafka/lib", 3);
//! let cluster = Cluster::start(config).await?;
//! println!("{}", cluster.bootstrap());
//! cluster.node(2)?.kill().await?;
//! cluster.node(2)?.restart().await?;
//! cluster.stop().await
//! # }
//! ```
//!
//! Every node is broker and controller (KRaft). Nodes, their ports and their data are kept in the
//! folder and found again by the next start. When this process ends, however it ends, a helper
//! process ends the nodes.

mod cluster;
mod config;
mod error;
mod folder;
mod java;
mod node;
mod port;
mod properties;
pub mod testing;
mod watch;

pub use cluster::Cluster;
pub use config::{Config, Secure};
pub use error::Error;
pub use node::{Node, NodeId};
