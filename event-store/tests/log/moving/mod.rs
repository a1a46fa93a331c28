//! Slots that go from shard to shard while they are appended to, with movers that die on the way.

mod bounds;
mod movers;
mod reopened_source;
mod while_writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use domain::{Sequence, TenantId};
use event_store::{
    Append, Committed, Error, EventStore, Move, MoveEnd, MoveFault, MoveOptions, Mover, ShardId, Slot, SlotPosition,
    Step,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Platform, tenant, within};

pub(super) fn mover(platform: &Platform, options: MoveOptions) -> Mover {
    Mover::new(&platform.control, &platform.shards, options).expect("a mover")
}

pub(super) fn with_fault(fault: MoveFault) -> MoveOptions {
    MoveOptions {
        fault: Some(fault),
        ..MoveOptions::default()
    }
}

pub(super) fn never() -> CancellationToken {
    CancellationToken::new()
}

/// A tenant whose slot begins on shard 0 of two.
pub(super) fn on_the_first() -> TenantId {
    (0..)
        .map(|number| tenant(&format!("t{number}")))
        .find(|tenant| Slot::of(tenant).0.is_multiple_of(2))
        .expect("one")
}

pub(super) async fn plan(mover: &Mover, slot: Slot, target: i16) -> Move {
    let planned = mover.plan(&[slot], ShardId(target)).await.expect("planned");
    planned.moves.into_iter().next().expect("one move")
}

/// Moves a slot; the move must be done.
pub(super) async fn moved(mover: &Mover, slot: Slot, target: i16) -> Move {
    let planned = plan(mover, slot, target).await;
    match within("a move", mover.run(&planned, &never())).await.expect("moved") {
        MoveEnd::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

/// Runs a move up to a step, and lets its mover die there.
pub(super) async fn dies_after(platform: &Platform, planned: &Move, step: Step) {
    let (told, mut steps) = mpsc::unbounded_channel();
    let mover = mover(platform, with_fault(MoveFault::HangAfter(step))).observed_by(move |_, step| {
        let _ = told.send(step);
    });
    let planned = planned.clone();
    let task = tokio::spawn(async move { mover.run(&planned, &never()).await });
    within("coming to the step", async {
        while steps.recv().await.expect("a step") != step {}
    })
    .await;
    task.abort();
    assert!(task.await.expect_err("died").is_cancelled());
}

/// Slot, slot position, stream, sequence, event id, order number, tenant.
type Original = (i16, i64, String, i64, uuid::Uuid, Option<i64>, String);

/// A mover that waits at a step until it is let go. Its test needs a runtime of several threads.
pub(super) struct Held {
    reached: mpsc::UnboundedReceiver<()>,
    go_on: std::sync::mpsc::Sender<()>,
    task: JoinHandle<Result<MoveEnd, Error>>,
}

impl Held {
    pub(super) async fn at(mover: &Mover, planned: &Move, step: Step) -> Self {
        let (told, reached) = mpsc::unbounded_channel();
        let (go_on, wait) = std::sync::mpsc::channel();
        let wait = Mutex::new(wait);
        let mover = mover.clone().observed_by(move |_, at| {
            if at == step {
                let _ = told.send(());
                // A sender that is gone lets go, too.
                let _ = tokio::task::block_in_place(|| wait.lock().expect("a gate").recv());
            }
        });
        let planned = planned.clone();
        let task = tokio::spawn(async move { mover.run(&planned, &never()).await });
        let mut held = Self { reached, go_on, task };
        within("coming to the step", held.reached.recv())
            .await
            .expect("the step");
        held
    }

    pub(super) async fn let_go(self) -> Result<MoveEnd, Error> {
        self.go_on.send(()).expect("it waits");
        within("the mover", self.task).await.expect("ended")
    }
}

/// What was acknowledged.
pub(super) type Acknowledged = Vec<(Append, Committed)>;

/// Everything that must hold of a slot, whatever shards it was on: what the log has, once, is what was
/// acknowledged, where it was acknowledged (G3).
pub(super) async fn faults_of(platform: &Platform, acknowledged: &Acknowledged) -> Vec<String> {
    let mut faults = Vec::new();
    let mut log = BTreeMap::new();
    let mut numbers: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for at in 0..platform.shards.len() {
        // Each event is an original on one shard, the one that took it.
        let rows: Vec<Original> = sqlx::query_as(
            "SELECT slot, slot_position, aggregate_id, sequence, event_id, (metadata ->> 'number')::bigint, tenant_id \
               FROM events WHERE NOT copied",
        )
        .fetch_all(&mut platform.shard(at).await)
        .await
        .expect("the log");
        for (slot, position, stream, sequence, id, number, tenant) in rows {
            if let Some(number) = number
                && !numbers.entry(tenant.clone()).or_default().insert(number)
            {
                faults.push(format!("{tenant} has the order number {number} twice"));
            }
            if log.insert((slot, position), (stream, sequence, id)).is_some() {
                faults.push(format!("slot {slot} has position {position} twice"));
            }
        }
    }
    let mut lengths: BTreeMap<i16, i64> = BTreeMap::new();
    for (slot, position) in log.keys() {
        let length = lengths.entry(*slot).or_default();
        *length += 1;
        if *position != *length {
            faults.push(format!("slot {slot} has position {position} where {length} was due"));
        }
    }
    for (tenant, numbers) in numbers {
        if !numbers.iter().copied().eq((1..).take(numbers.len())) {
            faults.push(format!("order numbers of {tenant} are not 1..{}", numbers.len()));
        }
    }
    for (append, committed) in acknowledged {
        for (event, placed) in append.events.iter().zip(&committed.events) {
            let slot = i16::try_from(committed.slot.0).expect("a slot");
            let expected = (
                append.stream.aggregate_id().to_owned(),
                placed.sequence.0,
                event.event_id.0,
            );
            if log.get(&(slot, placed.slot_position.0)) != Some(&expected) {
                faults.push(format!(
                    "{expected:?} is not at {} of slot {slot}",
                    placed.slot_position
                ));
            }
        }
    }
    let events: usize = acknowledged.iter().map(|(append, _)| append.events.len()).sum();
    if log.len() != events {
        faults.push(format!(
            "{events} events were acknowledged and the log has {}",
            log.len()
        ));
    }
    faults
}

/// Both shards' copies are equal up to what each has, their counters are dense, one owns each slot.
pub(super) async fn audit(platform: &Platform, store: &EventStore) {
    let mut owners: BTreeMap<Slot, Vec<ShardId>> = BTreeMap::new();
    for shard in &platform.shards {
        assert_eq!(store.audit(shard.id).await.expect("audit"), []);
        for head in store.heads(shard.id).await.expect("heads") {
            if head.owned {
                owners.entry(head.slot).or_default().push(shard.id);
            }
        }
    }
    assert_eq!(owners.len(), usize::from(Slot::COUNT), "every slot has an owner");
    assert!(owners.values().all(|owners| owners.len() == 1), "and one only");
}

/// What was acknowledged is answered again as it was, and its token is one of the log.
pub(super) async fn repeat(store: &EventStore, acknowledged: &Acknowledged) {
    for (append, committed) in acknowledged.iter().step_by(7) {
        let again = store.append(append.clone()).await.expect("answered again");
        assert!(again.already_committed);
        assert_eq!((again.number, again.token()), (committed.number, committed.token()));
        let places = |committed: &Committed| -> Vec<(Sequence, SlotPosition)> {
            let events = committed.events.iter();
            events.map(|event| (event.sequence, event.slot_position)).collect()
        };
        assert_eq!(places(&again), places(committed));
        let last = SlotPosition(committed.token().slot_position.0 - 1);
        let there = store.read_slot(committed.slot, last, 1).await.expect("read");
        assert_eq!(there[0].token(), committed.token());
        assert_eq!(there[0].event_id, append.events.last().expect("events").event_id);
    }
}
