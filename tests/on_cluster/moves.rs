//! Slots that go from shard to shard of a cluster: their order in the topic, read models that are fed by
//! it, and a client that reads its own writes all the while.

use std::time::Duration;

use event_store::Slot;

use super::topic;
use super::witness::Witness;
use crate::concurrency::assert_guarantees;
use crate::crash::progress;
use crate::moves::{assert_nothing_left_behind, done, owners};
use crate::support::cluster::OnCluster;
use crate::support::load::Load;
use crate::support::topology::Topology;

const MOVES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn given_slots_that_move_under_load_then_no_promise_is_broken() {
    let on = OnCluster::start().await;
    let load = Load::prepare(&on, "shift", 6).await;
    let witness = Witness::start(&load);
    let running = load.start_paced(8, Duration::from_millis(60));
    let mut pauses = Vec::new();
    for nth in 0..MOVES {
        progress(&load, 20).await;
        let tenant = &load.names[nth % load.names.len()];
        let slot = i16::try_from(Slot::of(&tenant.parse().expect("a tenant")).0).expect("a slot");
        let at = owners(on.databases()).await.0[&slot][0];
        let target = ((at + 1) % 4).to_string();
        // Relays on a busy machine may be slow to publish.
        let patience = ["--relay-patience", "180"];
        let moved = done(
            &on,
            &[&["shards", "move", "--tenant", tenant, "--to", &target], &patience[..]].concat(),
        );
        assert_eq!(moved["moved"], 1, "{moved}");
        pauses.push(moved["pause_max_ms"].as_f64().expect("a pause"));
    }
    progress(&load, 20).await;
    running.stop().await;
    let (violations, included, honest) = witness.stop().await;
    pauses.sort_by(f64::total_cmp);
    println!("pauses of {pauses:.1?} ms; reads with their own writes: {included}; honestly without: {honest}");
    assert_eq!(violations, Vec::<String>::new(), "G9");
    assert!(included > 0, "the witness never read what it wrote");
    assert_guarantees(&on, &load).await;
    assert_nothing_left_behind(on.databases()).await;
    topic::assert_complete(&on).await;
}
