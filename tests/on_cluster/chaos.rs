//! Faults, one after another once the last has healed, under a steady load of orders.

use std::time::{Duration, Instant};

use super::fault::{ALL, FEW, Fault};
use super::witness::Witness;
use super::{say, topic};
use crate::concurrency::assert_guarantees;
use crate::crash::progress;
use crate::support::cluster::OnCluster;
use crate::support::load::Load;

/// Everything promised holds through all of them: G1 to G6, G9.
async fn run(faults: &[Fault]) {
    // What a kill -9 of PostgreSQL leaves on the kernel's side is kept without flushing, too.
    let on = OnCluster::start().await;
    let load = Load::prepare(&on, "chaos", 16).await;
    let witness = Witness::start(&load);
    let running = load.start_paced(8, Duration::from_millis(60));
    for (number, fault) in faults.iter().enumerate() {
        progress(&load, 60).await;
        say(&format!("fault {} of {}: {}", number + 1, faults.len(), fault.name));
        fault.happen(&on).await;
        let healed = Instant::now();
        progress(&load, 20).await;
        let taking_orders = healed.elapsed();
        on.cluster.await_ready().await.expect("ready again, and caught up");
        println!(
            "  orders again after {} ms, everything well after {} ms",
            taking_orders.as_millis(),
            healed.elapsed().as_millis()
        );
    }
    progress(&load, 60).await;
    running.stop().await;
    let (violations, included, honest) = witness.stop().await;
    println!("reads with their own writes: {included}; honestly without: {honest}");
    assert_eq!(violations, Vec::<String>::new(), "G9");
    assert!(included > 0, "the witness never read what it wrote");
    assert_guarantees(&on, &load).await;
    topic::assert_complete(&on).await;
}

/// Five of them, or where `COMANDA_CHAOS=all` asks for it (`make chaos`, a quarter of an hour) every one.
#[tokio::test(flavor = "multi_thread")]
async fn faults_under_load_break_no_promise() {
    let every = std::env::var("COMANDA_CHAOS").is_ok_and(|asked| asked == "all");
    let chosen: Vec<Fault> = ALL
        .into_iter()
        .filter(|fault| every || FEW.contains(&fault.name))
        .collect();
    assert_eq!(chosen.len(), if every { ALL.len() } else { FEW.len() });
    run(&chosen).await;
}
