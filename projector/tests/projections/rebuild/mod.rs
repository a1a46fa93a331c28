//! Rebuilding beside what is served: filled from real shards, switched to, rolled back, dropped.

mod as_of;
mod fill;
mod learn;
mod reads;
mod support;
mod switch;
