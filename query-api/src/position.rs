//! Read your writes: positions that requests bring and answers carry.
//!
//! Guarantee: a request with a `Comanda-Position` is answered from a read store on which every read
//! model that it touches has passed that position, or it is told that none has. The checkpoint is
//! read with the rows, on the same snapshot, so an answer's own position is what its rows show.
//! Waiting is bounded, holds no connection, and needs no notifier to be correct: [`Progress`] only
//! makes it wake at once instead of at the next poll. Nothing survives the request, so a crash
//! loses nothing.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Incarnation, PositionToken, Slot, SlotPosition};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::{HeaderMap, HeaderName};
use service::{Problem, TenantScope};
use tokio::time::Instant;

use crate::error::Error;
use crate::read_model::ReadModel;
use crate::stores::{Lease, ReadStores, Replica};

/// The header that carries position tokens, in requests and answers.
pub const COMANDA_POSITION: HeaderName = HeaderName::from_static("comanda-position");

const FIRST_POLL: Duration = Duration::from_millis(2);

/// Where there are others, how long a look at one endpoint may take.
const ONE_LOOK: Duration = Duration::from_millis(250);

/// How long, and how closely, a request watches for its position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) total: Duration,
    /// Between two looks, at most.
    pub(crate) poll: Duration,
}

/// Tells that read models may have moved on. A wake-up may be spurious; a missed one costs a poll.
pub trait Progress: Send + Sync + 'static {
    /// Resolves when a projector has committed after this call.
    fn moved(&self) -> BoxFuture<'static, ()>;
}

/// A projector in the same process announces its commits on a watch channel.
impl<T: Send + Sync + 'static> Progress for tokio::sync::watch::Receiver<T> {
    fn moved(&self) -> BoxFuture<'static, ()> {
        let mut receiver = self.clone();
        receiver.mark_unchanged();
        Box::pin(async move {
            if receiver.changed().await.is_err() {
                // The projector is gone; only the poll is left.
                std::future::pending::<()>().await;
            }
        })
    }
}

/// How far a read model has read the tenant's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Checkpoint {
    incarnation: i32,
    slot_position: i64,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self::stored(0, 0)
    }
}

impl Checkpoint {
    /// As read from the read store, where a slot nothing was read of has no incarnation yet; the
    /// log counts them from 1.
    pub(crate) fn stored(incarnation: i32, slot_position: i64) -> Self {
        Self {
            incarnation: incarnation.max(1),
            slot_position,
        }
    }

    fn of(token: &PositionToken) -> Self {
        Self {
            incarnation: token.incarnation.0,
            slot_position: token.slot_position.0,
        }
    }

    /// Within an incarnation positions decide. A checkpoint of a later one has passed what survived
    /// of the earlier; see [`restored_since`] for what may not have.
    pub(crate) fn has_passed(self, token: &PositionToken) -> bool {
        let nothing_to_wait_for = token.slot_position.0 == 0;
        nothing_to_wait_for || (self.incarnation >= token.incarnation.0 && self.slot_position >= token.slot_position.0)
    }

    /// Events of the slot that this one has more than `other`; at least one across a restore.
    pub(crate) fn ahead_of(self, other: Self) -> u64 {
        let more = self.slot_position.saturating_sub(other.slot_position);
        let at_least = i64::from(self.incarnation > other.incarnation && self.slot_position > 0);
        u64::try_from(more.max(at_least)).unwrap_or(0)
    }

    pub(crate) fn token(self, slot: Slot) -> PositionToken {
        PositionToken {
            slot,
            incarnation: Incarnation(self.incarnation),
            slot_position: SlotPosition(self.slot_position),
        }
    }
}

/// The position an answer carries: the furthest that its client has now seen. A client that returns
/// it never goes backwards, whichever replica answers next; so what the request brought counts too.
pub(crate) fn of_answer(slot: Slot, brought: Option<&PositionToken>, seen: Option<Checkpoint>) -> PositionToken {
    seen.max(brought.map(Checkpoint::of)).unwrap_or_default().token(slot)
}

/// Whether the log was restored between the token and the answer: the token's write may be among
/// what the restore lost, which no checkpoint can tell.
pub(crate) fn restored_since(token: &PositionToken, seen: Checkpoint) -> bool {
    seen.incarnation > token.incarnation.0
}

/// The position that a request brings, checked to be of the tenant's slot.
pub(crate) fn from_headers(headers: &HeaderMap, scope: &TenantScope) -> Result<Option<PositionToken>, Problem> {
    let refuse = |detail: &str| Problem::invalid_parameter(COMANDA_POSITION.as_str(), detail);
    let mut values = headers.get_all(COMANDA_POSITION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("The header was sent more than once; send the last token only."));
    }
    let token: PositionToken = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| refuse("This is not a position token; send one as an answer's header gave it."))?;
    if token.slot != Slot::of(scope.tenant()) {
        return Err(refuse("This position token was given to another tenant."));
    }
    Ok(Some(token))
}

/// What was not reached in time.
#[derive(Debug)]
pub(crate) struct NotReached {
    pub(crate) behind: Vec<ReadModel>,
}

pub(crate) enum Waited {
    Reached(Lease),
    NotReached(NotReached),
}

/// What a request waits for, and where not: an endpoint that has just let it down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'r> {
    pub(crate) models: &'r [ReadModel],
    pub(crate) token: &'r PositionToken,
    pub(crate) avoid: &'r [Arc<Replica>],
}

/// Waits until an endpoint has passed the token in all models, within `patience`. One that is known
/// to have is not asked.
pub(crate) async fn wait(
    stores: &ReadStores,
    progress: Option<&dyn Progress>,
    wanted: Wanted<'_>,
    patience: Patience,
) -> Result<Waited, Error> {
    if let Some(lease) = stores.known_past(wanted.models, wanted.token, wanted.avoid) {
        return Ok(Waited::Reached(lease));
    }
    let deadline = Instant::now() + patience.total;
    let mut poll = FIRST_POLL;
    for round in 0.. {
        // Asked for before looking, so that a commit in between is not slept through.
        let moved = progress.map(Progress::moved);
        let behind = match look(stores, wanted, round).await? {
            Waited::NotReached(behind) => behind,
            reached @ Waited::Reached(_) => return Ok(reached),
        };
        if Instant::now() >= deadline {
            metrics::counter!("read_position_not_reached_total").increment(1);
            return Ok(Waited::NotReached(behind));
        }
        let pause = tokio::time::sleep_until(deadline.min(Instant::now() + poll));
        match moved {
            Some(moved) => tokio::select! { () = moved => {}, () = pause => {} },
            None => pause.await,
        }
        poll = patience.poll.min(poll * 2);
    }
    Err(Error::Overloaded)
}

/// One look at the endpoint that may be there soonest and, in turns, at one of the others, so that
/// none that stalls is waited for alone. The first that has passed wins.
async fn look(stores: &ReadStores, wanted: Wanted<'_>, round: usize) -> Result<Waited, Error> {
    let mut replicas = stores.soonest(wanted.models, wanted.token, wanted.avoid);
    let all = replicas.len();
    if all > 2 {
        replicas.swap(1, 1 + round % (all - 1));
        replicas.truncate(2);
    }
    let looks = replicas.iter().map(|replica| async move {
        if all == 1 {
            return look_at(replica, wanted).await;
        }
        let looked = tokio::time::timeout(ONE_LOOK, look_at(replica, wanted)).await;
        looked.unwrap_or_else(|_| Ok(Waited::NotReached(NotReached::everything(wanted))))
    });
    let mut looks: FuturesUnordered<_> = looks.collect();
    let mut outcome = if all > 2 {
        Ok(Waited::NotReached(NotReached::everything(wanted)))
    } else {
        Err(Error::Unavailable(sqlx::Error::PoolClosed))
    };
    while let Some(looked) = looks.next().await {
        match looked {
            Ok(Waited::NotReached(behind)) => outcome = Ok(Waited::NotReached(behind)),
            Ok(reached @ Waited::Reached(_)) => return Ok(reached),
            Err(error) if outcome.is_err() => outcome = Err(error),
            Err(_) => {}
        }
    }
    outcome
}

async fn look_at(replica: &Arc<Replica>, wanted: Wanted<'_>) -> Result<Waited, Error> {
    let pointers = replica.pointers().await?;
    let Wanted { models, token, .. } = wanted;
    let reached = replica.checkpoints(&pointers, models, token.slot).await?;
    let behind: Vec<_> = models
        .iter()
        .copied()
        .filter(|model| !reached.get(model).copied().unwrap_or_default().has_passed(token))
        .collect();
    Ok(if behind.is_empty() {
        Waited::Reached(Lease::new(Arc::clone(replica), pointers))
    } else {
        Waited::NotReached(NotReached { behind })
    })
}

impl NotReached {
    fn everything(wanted: Wanted<'_>) -> Self {
        Self {
            behind: wanted.models.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(incarnation: i32, position: i64) -> PositionToken {
        at(incarnation, position).token(Slot(7))
    }

    fn at(incarnation: i32, slot_position: i64) -> Checkpoint {
        Checkpoint::stored(incarnation, slot_position)
    }

    #[test]
    fn a_checkpoint_has_passed_what_lies_at_or_before_it() {
        assert!(at(1, 10).has_passed(&token(1, 10)));
        assert!(!at(1, 9).has_passed(&token(1, 10)));
        assert!(
            !at(1, 99).has_passed(&token(2, 10)),
            "not yet in the token's incarnation"
        );
        assert!(at(2, 10).has_passed(&token(1, 10)));
        assert!(
            at(0, 0).has_passed(&token(2, 0)),
            "before the first event there is nothing to wait for"
        );
    }

    #[test]
    fn an_answer_never_carries_less_than_the_request_brought() {
        assert_eq!(of_answer(Slot(7), Some(&token(1, 10)), Some(at(1, 12))), token(1, 12));
        assert_eq!(of_answer(Slot(7), Some(&token(1, 10)), Some(at(1, 8))), token(1, 10));
        assert_eq!(of_answer(Slot(7), Some(&token(1, 10)), None), token(1, 10));
        let nothing = of_answer(Slot(7), None, None);
        assert_eq!(
            nothing.to_string().parse(),
            Ok(nothing),
            "what is given out is taken back"
        );
    }
}
