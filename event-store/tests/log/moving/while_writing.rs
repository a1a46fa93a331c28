//! G3 through moves under load, and a checker that would notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use domain::TenantId;
use event_store::{Cursor, Error, EventStore, LogFilter, MoveEnd, MoveFault, MoveOptions, Slot, Step};
use tokio::task::JoinHandle;
use tokio::time::{Duration, interval};

use super::{Acknowledged, audit, dies_after, faults_of, moved, mover, never, on_the_first, plan, repeat, with_fault};
use crate::support::{Platform, append, create, event, eventually, fresh_order, neighbour_of, within};

const MOVES: usize = 20;

/// Places orders and changes them until told to stop. What is refused is sent again as it is.
struct Writers {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    stored: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Acknowledged>>,
}

impl Writers {
    fn start(stores: &[EventStore], tenants: &[TenantId]) -> Self {
        let (stop, refused, stored) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let one = |nth: usize| {
            let (store, tenant) = (stores[nth % stores.len()].clone(), tenants[nth % tenants.len()].clone());
            let (stop, refused, stored) = (Arc::clone(&stop), Arc::clone(&refused), Arc::clone(&stored));
            tokio::spawn(async move {
                let mut acknowledged = Acknowledged::new();
                while !stop.load(Ordering::Relaxed) {
                    let stream = fresh_order(&tenant);
                    let mut change = append(&stream, 1);
                    change.events.push(event("OrderStatusChanged"));
                    for wanted in [create(&stream), change] {
                        let mut pause = interval(Duration::from_millis(2));
                        let committed = loop {
                            match store.append(wanted.clone()).await {
                                Ok(committed) => break committed,
                                Err(Error::NotOwned { .. } | Error::Unavailable { .. }) => {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                    pause.tick().await;
                                }
                                Err(other) => panic!("{other}"),
                            }
                        };
                        stored.fetch_add(1, Ordering::Relaxed);
                        acknowledged.push((wanted, committed));
                    }
                }
                acknowledged
            })
        };
        Self {
            tasks: (0..8).map(one).collect(),
            stop,
            refused,
            stored,
        }
    }

    /// Waits until so many more appends were stored.
    async fn write(&self, more: usize) {
        let target = self.stored.load(Ordering::Relaxed) + more;
        eventually("writers go on", || async {
            self.stored.load(Ordering::Relaxed) >= target
        })
        .await;
    }

    async fn stop(self) -> (Acknowledged, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Acknowledged::new();
        for task in self.tasks {
            acknowledged.extend(within("a writer", task).await.expect("a writer"));
        }
        (acknowledged, self.refused.load(Ordering::Relaxed))
    }
}

/// A reader of all shards; gives what it has seen once it has seen `total`.
fn follow(store: &EventStore) -> impl AsyncFnOnce(usize) -> Vec<(Slot, i64)> + use<> {
    let mut following = store.follow(LogFilter::default(), Cursor::default());
    async move |total| {
        let mut seen = Vec::new();
        while seen.len() < total {
            match within("following", following.next(500)).await {
                Ok(events) => seen.extend(events.iter().map(|event| (event.slot, event.slot_position.0))),
                // A slot that is shut just now; it is asked again.
                Err(Error::NotOwned { .. } | Error::Unavailable { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        seen
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn given_writers_when_a_slot_moves_twenty_times_and_movers_die_at_every_step_then_the_log_is_one_and_dense() {
    let platform = Platform::fresh(2).await;
    let stores = [platform.store().await, platform.store().await];
    let acme = on_the_first();
    let slot = Slot::of(&acme);
    let elsewhere = crate::support::tenant("dev");
    let writers = Writers::start(&stores, &[acme.clone(), neighbour_of(&acme), elsewhere]);
    let watched = follow(&stores[1]);
    let mover = mover(&platform, MoveOptions::default());
    let (mut at, mut pauses, mut undone) = (0_i16, Vec::new(), 0);
    for nth in 0..MOVES {
        writers.write(60).await;
        let planned = plan(&mover, slot, 1 - at).await;
        // Two in three are interrupted, once at each step in turn.
        if nth % 3 > 0 {
            let step = Step::ALL[(nth / 3 * 2 + nth % 3 - 1) % Step::ALL.len()];
            dies_after(&platform, &planned, step).await;
            let decided = matches!(step, Step::Decided | Step::Opened | Step::Released);
            if nth % 2 == 0 && !decided {
                let end = mover.undo(&planned).await.expect("undone");
                assert!(matches!(end, MoveEnd::Undone(_)), "{end:?}");
                undone += 1;
                continue;
            }
            let refused = mover.undo(&planned).await;
            assert_eq!(refused.is_err(), decided, "{step:?}: {refused:?}");
            if !decided {
                continue;
            }
        }
        match within("a move", mover.run(&planned, &never())).await.expect("moved") {
            MoveEnd::Done(done) => pauses.push(done.pause_ms.expect("measured")),
            other => panic!("{other:?}"),
        }
        at = 1 - at;
    }
    writers.write(60).await;
    let (acknowledged, refused) = writers.stop().await;
    pauses.sort_by(f64::total_cmp);
    println!(
        "{} moves, {undone} undone; pause median {:.1} ms, longest {:.1} ms; {} appends, {refused} refused and sent again",
        pauses.len(),
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1],
        acknowledged.len()
    );
    assert!(refused > 0, "somebody met a fence");
    assert_eq!(faults_of(&platform, &acknowledged).await, Vec::<String>::new());
    audit(&platform, &stores[0]).await;
    repeat(&stores[1], &acknowledged).await;

    let total = acknowledged.iter().map(|(append, _)| append.events.len()).sum();
    let seen = watched(total).await;
    let mut next: std::collections::BTreeMap<Slot, i64> = std::collections::BTreeMap::new();
    for (slot, position) in seen {
        let due = next.entry(slot).or_insert(1);
        assert_eq!(position, *due, "a follower sees slot {slot} in order, each once");
        *due += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_a_move_that_shuts_nothing_is_noticed() {
    let platform = Platform::fresh(2).await;
    let stale = platform.store().await;
    let tenant = on_the_first();
    let mut acknowledged = Acknowledged::new();
    let one = async |store: &EventStore, acknowledged: &mut Acknowledged| {
        let wanted = create(&fresh_order(&tenant));
        let committed = store.append(wanted.clone()).await.expect("stored");
        acknowledged.push((wanted, committed));
    };
    one(&stale, &mut acknowledged).await;
    assert_eq!(faults_of(&platform, &acknowledged).await, Vec::<String>::new());
    let mover = mover(&platform, with_fault(MoveFault::SkipFence));
    moved(&mover, Slot::of(&tenant), 1).await;
    one(&stale, &mut acknowledged).await;
    one(&platform.store().await, &mut acknowledged).await;
    let faults = faults_of(&platform, &acknowledged).await;
    println!("without a fence: {faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("has position 2 twice")));
}
