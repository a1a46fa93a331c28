//! The query API on a real PostgreSQL, by HTTP.

#![allow(clippy::unwrap_used, reason = "what fails here ends the test that needs it")]

mod answers;
mod generations;
mod http_spec;
mod isolation;
mod limits;
mod outage;
mod paging;
mod past;
mod positions;
mod replicas;
mod schema_file;
mod selection;
mod support;
