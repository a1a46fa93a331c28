//! Read models kept up with the log.
//!
//! A [`Feed`] delivers events; [`Projector`] drops duplicates, finds losses and applies the rest:
//! rows and slot checkpoints in one transaction, checkpoints compared before they are set. The
//! effect is exactly once, whatever the feed does and however many projectors run.
//!
//! To add a read model: a migration with its `meta.create_<name>` function, a file in
//! `projections/` implementing [`Projection`], a line in [`registry::all`].

mod checkpoint;
mod consumer;
mod engine;
mod error;
mod fault;
mod feed;
mod feeder;
mod generation;
mod intake;
mod isolate;
pub mod kafka;
mod lag;
mod learn;
mod model;
pub mod parked;
mod progress;
mod projection;
pub mod projections;
mod projector;
pub mod rebuild;
pub mod registry;
mod retry;
mod stretches;

pub use checkpoint::Checkpoint;
pub use consumer::Consumer;
pub use error::Error;
pub use fault::Fault;
pub use feed::{Delivery, Feed, Log, LostWhen, Place, Seen, ShardLog, ShardTail};
pub use generation::{Generation, State, ensure_generations};
pub use intake::Stopped;
pub use kafka::KafkaProjector;
pub use model::Registered;
pub use progress::{KafkaStatus, Progress, ShardStatus};
pub use projection::{Change, FoldError, Projection, Schema, StreamEvent, WriteError};
pub use projector::Projector;
