//! The command API, called as a client calls it, on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that meets something unexpected has failed")]

mod bad_input;
mod catalogue;
mod documents;
mod events;
mod idempotency;
mod orders;
mod rights;
mod status;
mod support;
