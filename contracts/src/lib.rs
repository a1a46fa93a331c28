//! What is published about the log on Kafka: a JSON Schema per event, and `asyncapi.json`.
//!
//! Both are generated from the code and committed. To write them anew:
//! `UPDATE_GENERATED=1 cargo test --release -p contracts -- committed`.

mod asyncapi;
mod json;
mod schema;

pub use asyncapi::asyncapi;
pub use json::to_text;
pub use schema::{file_name, schema};
