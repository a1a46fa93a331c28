//! Where events live: slots and shards; append, load, tail, read. The only code that writes events.
//!
//! A tenant hashes to a *slot*, a slot is a log of its own, and a *shard* is a PostgreSQL database
//! that owns slots. Appends go through one committer per shard, which sends what arrived while its
//! previous batch was in flight as one call of one database function; that function decides, under
//! the shard's head lock, what every reader will see.
//!
//! Four counters, never mixed: [`domain::Sequence`] counts within a stream, [`SlotPosition`] within
//! a slot, [`Position`] within a shard (it serves tailing only). The fourth, Kafka's offset, is not
//! known here.
//!
//! Of `cqrs-es` and `postgres-es` this builds on the traits and on loading. Not used, and why:
//! `persist` takes three round trips and a commit per command; `stream_all_events` ends and reports
//! success when the database fails; in-process query dispatch is lost in a crash; snapshots apply
//! an event twice, once in `EventSink::write` and again in the commit.

mod aggregates;
mod append;
mod audit;
mod batch;
mod bootstrap;
mod branch;
mod cache;
mod committer;
mod control;
mod decode;
mod edge;
mod error;
mod follow;
mod ids;
mod incarnations;
mod learning;
mod moves;
mod options;
mod placement;
mod queue;
mod read;
mod record;
mod reopen;
mod session;
mod shard;
mod shards;
mod store;
mod tail;
mod token;

pub use aggregates::{AggregateStore, Loaded};
pub use append::{Append, Committed, NewEvent, Placed};
pub use audit::Finding;
pub use bootstrap::{UrlKept, bootstrap, register_shard};
pub use control::{RegisteredShard, all_shards, registered_shards};
pub use error::{Cause, Error};
pub use follow::{Cursor, Follow};
pub use ids::{Incarnation, Ownership, Position, ShardId, Slot, SlotPosition};
pub use incarnations::{Ahead, Branch, History};
pub use moves::{
    Move, MoveEnd, MoveFault, MoveId, MoveOptions, MoveState, Mover, PlannedMoves, ProposedMove, SlotLoad, Step,
    propose_moves, recorded_moves, shard_loads, shares, unfinished_moves,
};
pub use options::{ControlOptions, Options, ShardOptions};
pub use read::filter::LogFilter;
pub use read::scan::{Lane, Scan, ScanPage};
pub use read::{EventFilter, EventPage, SlotHead};
pub use record::RecordedEvent;
pub use reopen::{Reopen, Reopened, ReopenedSlot, Unreachable, promote, restored};
pub use store::{EventStore, ShardHealth};
pub use tail::Tail;
pub use token::{PositionToken, TokenError, token_of};
