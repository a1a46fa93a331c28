//! The way into a committer: bounded, so that overload is refused at once instead of growing.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use crate::append::Committed;
use crate::batch::Prepared;
use crate::error::Error;

/// Bytes of events that one unit of room stands for.
const BYTES_PER_UNIT: usize = 8 << 10;
/// A batch takes milliseconds, so a full queue has room again within a second or it is an outage.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An append on its way. It holds its room until it is answered: waiting behind another append to
/// its stream counts, or many writers on one stream would fill memory.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) prepared: Arc<Prepared>,
    reply: oneshot::Sender<Result<Committed, Error>>,
    _room: OwnedSemaphorePermit,
}

impl Job {
    /// A caller that no longer waits is not an error: what was stored stays stored.
    pub(crate) fn answer(self, result: Result<Committed, Error>) {
        let _ = self.reply.send(result);
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    capacity: u32,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> (Self, mpsc::Receiver<Job>) {
        let capacity = u32::try_from(capacity.max(1)).unwrap_or(u32::MAX).min(1 << 20);
        // Each job holds at least one unit, so the channel never fills before the room does.
        let (jobs, receiver) = mpsc::channel(capacity as usize);
        (
            Self {
                jobs,
                room: Arc::new(Semaphore::new(capacity as usize)),
                capacity,
            },
            receiver,
        )
    }

    /// Hands an append to the committer and waits for its outcome.
    pub(crate) async fn append(&self, prepared: Arc<Prepared>) -> Result<Committed, Error> {
        let units = 1 + prepared.bytes / BYTES_PER_UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(self.capacity);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(units)
            .map_err(|error| match error {
                TryAcquireError::NoPermits => Error::Overloaded {
                    retry_after_seconds: RETRY_AFTER_SECONDS,
                },
                TryAcquireError::Closed => stopped(),
            })?;
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(Job {
                prepared,
                reply,
                _room: room,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Error::Overloaded {
                    retry_after_seconds: RETRY_AFTER_SECONDS,
                },
                mpsc::error::TrySendError::Closed(_) => stopped(),
            })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Refuses whatever comes from now on; what is in the queue is still committed.
    pub(crate) fn close(&self) {
        self.room.close();
    }

    /// Units of room taken.
    pub(crate) fn depth(&self) -> usize {
        self.capacity as usize - self.room.available_permits()
    }
}

fn stopped() -> Error {
    Error::Unavailable {
        reason: "it is shutting down",
        source: None,
    }
}
