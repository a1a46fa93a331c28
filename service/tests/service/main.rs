//! One binary for all of this crate's integration tests: linking is what takes time.

#![allow(clippy::unwrap_used, reason = "a test that cannot even be set up has failed")]

mod auth_forgeries;
mod auth_jwks;
mod auth_jwks_https;
mod auth_keys;
mod bodies;
mod documents;
mod hardening;
mod health;
mod logging;
mod serving;
mod settings;
mod stopping;
mod tokens;
