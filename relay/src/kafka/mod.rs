//! Kafka as the relay and the readers of its topic see it.

mod client;
mod producer;
mod topic;

pub use client::{Logging, client_config};
pub(crate) use producer::{Producer, Refused};
pub use topic::Topic;
