//! Shard tail to Kafka.
//!
//! Guarantee: every event of every shard is published to the topic at least once, and within a slot
//! first occurrences are in order. Each record is a CloudEvent in binary mode ([`record`]), in the
//! partition of its slot.
//!
//! A shard is published by the relay that holds its lease (`cursor`). What keeps the order:
//!
//! - a relay sends a shard's events in the log's order, one producer for each lease;
//! - the producer is idempotent and gapless, and its messages never time out: what it delivers to a
//!   partition is a run without holes, whatever is retried, and it stops for good at the first
//!   record that cannot be delivered;
//! - the cursor only passes records that Kafka has acknowledged, with all before them;
//! - whoever starts, starts at the cursor, as the shard itself has it: also after the shard's standby
//!   was promoted or its backup restored at the same address.
//!
//! So each producer that ever wrote to a partition wrote a run without holes that began at or
//! before the end of what was published. Of any number of such runs, interleaved as they may be (a
//! relay that lost its lease and does not know it yet), first occurrences are in order.
//!
//! On a crash the next holder starts from the cursor: records may come twice, never not at all.
//! Clocks, leases and wake-ups are not needed for any of this, only for doing the work once and at
//! once. Commands never wait for Kafka: nothing here is on their path.

mod checker;
mod cursor;
mod error;
pub mod kafka;
mod keeper;
mod membership;
mod metric;
mod published;
mod reader;
pub mod record;
mod relay;
mod session;
mod settings;
mod settling;
mod status;
#[cfg(test)]
mod tests;
mod tracker;

pub use error::Error;
pub use published::{Published, PublishedHead, published, published_heads, rewind};
pub use relay::Relay;
pub use status::ShardStatus;
