//! What is published about the log, held against what is.

#![allow(clippy::unwrap_used, reason = "a test that cannot even be set up has failed")]

mod committed;
mod headers;
mod payloads;
