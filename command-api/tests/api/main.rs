//! The command API, called as a client calls it, on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that meets something unexpected has failed")]

mod bad_input;
mod batch;
mod catalogue;
mod documents;
mod events;
mod history;
mod idempotency;
mod orders;
mod quotes;
mod reading;
mod rights;
mod sockets;
mod status;
mod streams;
mod support;
