//! The log against a real PostgreSQL: what the append function judges and assigns, what the
//! committer makes of failures, and what readers see meanwhile.

mod aggregates;
mod append_function;
mod appended_numbers;
mod audit;
mod bootstrap;
mod committer;
mod connection_loss;
mod following;
mod incarnations;
mod moving;
mod ownership;
mod placement;
mod reading;
mod scanning;
mod stock;
mod support;
mod tailing;
