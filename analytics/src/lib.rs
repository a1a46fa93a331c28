//! SQL for analysts: who may read the log's view, and one view across all shards.
//!
//! Every shard has the view `analytics.events` (see `migrations/event_store/0006_analytics.sql`). The
//! first read store is the hub: its `analytics.events` is the same across shards, over `postgres_fdw`.
//! Readers are login roles with a right to these views and nothing else; a reader sees one tenant, or
//! all of them.
//!
//! The hub reaches the shards as a reader of its own, whose password only superusers and the owner of
//! the hub's views can read. It is drawn anew at each [`set_up`].
//!
//! Each function here can be run again: killed halfway, the next run does the rest.

mod error;
mod hub;
mod readers;
mod role;

pub use error::Error;
pub use hub::set_up;
pub use readers::{Sees, grant, revoke};
pub use role::{RoleName, RolePassword};

/// A database by the name that operators know.
#[derive(Clone)]
pub struct DatabaseAt {
    pub name: String,
    /// May carry a password.
    pub url: String,
}

/// The platform's databases, as far as analysts are concerned.
#[derive(Debug, Clone)]
pub struct Databases {
    /// Each shard by its id.
    pub shards: Vec<(i16, DatabaseAt)>,
    /// Shows readers nothing; what is open to every role is closed in it too.
    pub control: DatabaseAt,
    /// The read store that holds the view across shards.
    pub hub: DatabaseAt,
}

impl std::fmt::Debug for DatabaseAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseAt")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
