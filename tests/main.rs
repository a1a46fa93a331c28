//! The whole platform as its users meet it: the shipped binary, a real PostgreSQL, requests over
//! the wire, and processes killed.

mod concurrency;
mod crash;
mod import;
mod journey;
mod on_cluster;
mod refusals;
mod support;
mod tenants;
