//! One file per verb.

pub(crate) mod backup;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod orders;
pub(crate) mod parked;
pub(crate) mod projections;
pub(crate) mod restore;
pub(crate) mod roles;
pub(crate) mod seed;
pub(crate) mod shards;
pub(crate) mod sql;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod up;
