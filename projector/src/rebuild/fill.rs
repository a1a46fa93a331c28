//! Filling generations straight from the shards.
//!
//! Guarantee: each event of the log up to the goal changes each of the generations exactly once, in
//! order per slot, whoever else fills them: rows and checkpoints are written as projectors write
//! them, and compared in the same way. Slots are shared out among workers, the largest first, and a
//! slot is with one worker at a time. A worker reads its next chunk while it writes the one before,
//! and a chunk is one transaction.
//!
//! On a crash what was not committed is read again. Not needed for correctness: the lease, the
//! heads being current (what comes meanwhile is the next round's), or the projectors standing still.
//!
//! Memory: two chunks a worker, each bounded in events and in bytes. Nothing in the shards is held
//! open: a page is one statement over a range of a slot's positions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use event_store::{Cursor, EventStore, Incarnation, RecordedEvent, ShardId, Slot, SlotHead, SlotPosition};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::checkpoint;
use crate::engine::Engine;
use crate::error::Error;
use crate::feed::{Branches, branches};
use crate::generation::{Fed, Generation};
use crate::intake::{Intake, Sorted};
use crate::progress::Progress;

/// Bytes of payload in a chunk, about: after a page that exceeds it the chunk is full.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Events of one slot read at once.
const PAGE: usize = 1_000;

/// What is filled, and from where.
#[derive(Debug, Clone)]
pub(super) struct Filler {
    pub(super) store: EventStore,
    pub(super) read_store: PgPool,
    pub(super) filling: Vec<Fed>,
    /// `None`: the log's heads, wherever they are.
    pub(super) as_of: Option<Cursor>,
    pub(super) workers: usize,
    /// Events in a chunk, at least, where there are as many.
    pub(super) chunk: usize,
}

/// A part of a slot to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    slot: Slot,
    after: SlotPosition,
    upto: SlotPosition,
}

/// How far the generations are, at one moment.
#[derive(Debug, Default)]
pub(super) struct Outlook {
    /// Events that all of the generations have.
    pub(super) done: i64,
    pub(super) remaining: i64,
    work: Vec<Work>,
    branches: Branches,
}

impl Filler {
    pub(super) fn generations(&self) -> Vec<Generation> {
        self.filling.iter().map(|fed| fed.generation.clone()).collect()
    }

    /// Looks how much there is to do.
    pub(super) async fn look(&self) -> Result<Outlook, Error> {
        let generations = self.generations();
        let checkpoints = {
            let mut connection = self.read_store.acquire().await?;
            checkpoint::load(&mut connection, &generations, None).await?
        };
        let (mut outlook, mut owned) = (Outlook::default(), BTreeSet::new());
        for shard in self.store.shards() {
            let (heads, branches) = self.heads(shard).await?;
            for head in heads.iter().filter(|head| head.owned) {
                owned.insert(head.slot);
                let none = vec![];
                let began: &[(Incarnation, SlotPosition)] = branches.get(&head.slot).unwrap_or(&none);
                let upto = self.goal(head);
                let mut lowest = upto;
                for (model, generation) in generations.iter().enumerate() {
                    let missing = Error::NoCheckpoint {
                        read_model: generation.read_model,
                        slot: head.slot,
                    };
                    let at = checkpoints.get(&(model, head.slot)).copied().ok_or(missing)?;
                    // Heads were read after checkpoints.
                    if at.slot_position > head.slot_position || !at.continues_in(head.incarnation, began) {
                        return Err(Error::Restored { slot: head.slot });
                    }
                    lowest = lowest.min(at.slot_position);
                }
                outlook.done += lowest.0;
                outlook.remaining += upto.0 - lowest.0;
                if lowest < upto {
                    outlook.work.push(Work {
                        slot: head.slot,
                        after: lowest,
                        upto,
                    });
                }
            }
            outlook.branches.extend(branches);
        }
        self.refuse_unowned(&owned)?;
        Ok(outlook)
    }

    /// Nobody comes back to a generation as of a position: without a slot that a move has shut just
    /// now it would be taken for complete.
    fn refuse_unowned(&self, owned: &BTreeSet<Slot>) -> Result<(), event_store::Error> {
        let mut asked = self.as_of.iter().flat_map(Cursor::tokens);
        match asked.find(|token| token.slot_position.0 > 0 && !owned.contains(&token.slot)) {
            Some(token) => Err(event_store::Error::NotOwned { slot: token.slot }),
            None => Ok(()),
        }
    }

    async fn heads(&self, shard: ShardId) -> Result<(Vec<SlotHead>, Branches), Error> {
        let heads = self.store.heads(shard).await?;
        Ok((heads, branches(&self.store, shard).await?))
    }

    fn goal(&self, head: &SlotHead) -> SlotPosition {
        match &self.as_of {
            Some(cursor) => cursor.position(head.slot).min(head.slot_position),
            None => head.slot_position,
        }
    }

    /// Reads everything that a look has found to be missing.
    pub(super) async fn fill(&self, mut outlook: Outlook) -> Result<(), Error> {
        // The largest first: what takes longest begins first.
        outlook
            .work
            .sort_by_key(|work| std::cmp::Reverse(work.upto.0 - work.after.0));
        let workers = self.workers.clamp(1, outlook.work.len().max(1));
        let queue = Queue(Arc::new(Mutex::new(outlook.work.into())));
        let mut running = JoinSet::new();
        for _ in 0..workers {
            let worker = self.worker(&outlook.branches).await?;
            let reader = Reader {
                store: self.store.clone(),
                queue: queue.clone(),
                current: None,
                chunk: self.chunk,
            };
            running.spawn(worker.run(reader));
        }
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(result) => result?,
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        Ok(())
    }

    async fn worker(&self, branches: &Branches) -> Result<Worker, Error> {
        let engine = Engine::open(self.read_store.clone(), self.filling.clone(), Progress::new(), None);
        let mut engine = engine.await?.in_bulk();
        for (slot, branches) in branches {
            engine.learn(*slot, branches);
        }
        Ok(Worker {
            engine,
            intake: Intake::default(),
        })
    }
}

#[derive(Debug, Clone)]
struct Queue(Arc<Mutex<VecDeque<Work>>>);

impl Queue {
    fn take(&self) -> Option<Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Events by slot, each slot's in order.
type Chunk = BTreeMap<Slot, Vec<RecordedEvent>>;

struct Reader {
    store: EventStore,
    queue: Queue,
    current: Option<Work>,
    chunk: usize,
}

impl Reader {
    /// The next events of the slots that this worker takes; none where all is taken.
    async fn chunk(&mut self) -> Result<Chunk, Error> {
        let (mut chunk, mut events, mut bytes) = (Chunk::new(), 0, 0);
        while events < self.chunk && bytes < CHUNK_BYTES {
            let Some(mut work) = self.current.take().or_else(|| self.queue.take()) else {
                break;
            };
            let wanted = usize::try_from(work.upto.0 - work.after.0).unwrap_or(PAGE).min(PAGE);
            let page = self.store.read_slot(work.slot, work.after, wanted).await?;
            let Some(last) = page.last() else {
                // Less than the head said: the next look tells why.
                continue;
            };
            work.after = last.slot_position;
            events += page.len();
            bytes += page.iter().map(|event| event.payload.get().len()).sum::<usize>();
            chunk.entry(work.slot).or_default().extend(page);
            self.current = (work.after < work.upto).then_some(work);
        }
        Ok(chunk)
    }
}

struct Worker {
    engine: Engine,
    intake: Intake,
}

impl Worker {
    async fn run(mut self, mut reader: Reader) -> Result<(), Error> {
        let mut chunk = reader.chunk().await?;
        while !chunk.is_empty() {
            let (next, applied) = tokio::join!(reader.chunk(), self.apply(chunk));
            applied?;
            chunk = next?;
        }
        Ok(())
    }

    async fn apply(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.engine.refresh().await?;
        let mut all = Sorted::default();
        for (slot, events) in chunk {
            let sorted = self.intake.sort_page(slot, events, &self.engine);
            all.runs.extend(sorted.runs);
        }
        if let Some((slot, why)) = self.intake.stopped().first_key_value() {
            return Err(Error::Stopped {
                slot: *slot,
                why: why.clone(),
            });
        }
        // Where somebody else was faster, the next look finds what is still missing.
        self.engine.apply(&all.runs).await?;
        Ok(())
    }
}
