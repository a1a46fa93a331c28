//! What every end-to-end test stands on: real processes, a journal of what was asked, and a
//! checker that trusts neither.

pub(crate) mod checker;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod load;
pub(crate) mod platform;
pub(crate) mod topology;

use std::future::Future;
use std::time::{Duration, Instant};

/// Waits until `probe` gives a value, and fails with the last `state` seen after `limit`.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(
    limit: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + limit;
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(state) if Instant::now() >= deadline => panic!("not within {limit:?}: {state}"),
            Err(_) => {
                pause.tick().await;
            }
        }
    }
}
