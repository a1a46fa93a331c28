//! Projections on a real PostgreSQL: whatever is delivered, however often and by however many, the
//! rows are a fold of the log.

mod added;
mod delivery;
mod incarnations;
mod kafka;
mod killed;
mod live;
mod poison;
mod property;
mod rebuild;
mod rivals;
mod standstill;
mod support;
