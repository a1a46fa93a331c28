//! On real PostgreSQL and real Kafka: the log minus the topic is empty, and in order per slot.

mod address;
mod cursor;
mod failures;
mod judge;
mod log;
mod moving;
mod promoted;
mod publishing;
mod running;
mod sharing;
mod topic;

use std::time::{Duration, Instant};

/// Waits for a condition, and says what it waited for when it does not come.
async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + limit;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !condition().await {
        assert!(Instant::now() < give_up, "not within {limit:?}: {what}");
        look.tick().await;
    }
}

const SOON: Duration = Duration::from_secs(60);
