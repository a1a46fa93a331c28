//! The bound on records in memory.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts the bytes of records that wait to be applied.
#[derive(Debug)]
pub(crate) struct Room {
    limit: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// Bytes taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let (used, freed) = Default::default();
        Arc::new(Self { limit, used, freed })
    }

    /// Never refuses: what has been read must go somewhere. Look at [`Room::wait`] before reading.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Taken {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        Taken {
            room: Arc::clone(self),
            bytes,
        }
    }

    /// Whether there is room, waiting this long for it.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .freed
            .wait_timeout_while(used, patience, |used| *used >= self.limit);
        let (used, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *used < self.limit
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.room.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_room_that_is_full_when_some_is_given_back_then_there_is_room_again() {
        let room = Room::new(10);
        let (first, second) = (room.take(6), room.take(6));
        assert!(!room.wait(Duration::ZERO));
        drop(first);
        assert!(room.wait(Duration::ZERO));
        drop(second);
        assert!(room.wait(Duration::ZERO));
    }
}
