//! The whole platform as its users meet it: the shipped binary, a real PostgreSQL, requests over
//! the wire, and processes killed.

mod backup;
mod concurrency;
mod crash;
mod events_export;
mod guides;
mod history;
mod import;
mod journey;
mod moves;
mod on_cluster;
mod ops;
mod rebuild;
mod refusals;
mod sql;
mod support;
mod tenants;
mod verify;
