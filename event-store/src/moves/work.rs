//! One move, step by step, from wherever it stands.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::pending;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::mover::MoveEnd;
use super::record::{self, Kept, Move, MoveState};
use super::source::{Counter, Standing};
use super::step::{Observer, Step};
use super::{MoveFault, MoveOptions, drain, hand_over, source, target, verify};
use crate::control::unreachable;
use crate::error::Error;
use crate::ids::{Ownership, SlotPosition};

/// Names the lock that a mover holds on its slot while it works.
const LOCK: i32 = 0x6d6f_7665;
/// A mover that was killed is noticed by its server within this time.
const PATIENCE_FOR_LOCK: Duration = Duration::from_secs(2);
/// How long a database that went away behind the fence is waited for.
const PATIENCE_BEHIND_FENCE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// Between looks at the relays' cursors while writers wait.
const GLANCE: Duration = Duration::from_millis(3);

pub(super) struct Work<'a> {
    control: PgConnection,
    control_at: PgConnectOptions,
    source: PgPool,
    target: PgPool,
    moving: Move,
    options: &'a MoveOptions,
    observer: &'a Observer,
    stop: &'a CancellationToken,
    /// Order numbers as the target was told of them.
    numbers: HashMap<Counter, i64>,
    /// How far the slot reaches at the target.
    reached: SlotPosition,
    topics_of_target: Vec<String>,
}

/// What a move works with.
pub(super) struct Place<'a> {
    pub(super) control: PgConnectOptions,
    pub(super) source: PgPool,
    pub(super) target: PgPool,
    pub(super) options: &'a MoveOptions,
    pub(super) observer: &'a Observer,
    pub(super) stop: &'a CancellationToken,
}

impl<'a> Work<'a> {
    /// Takes the move up, unless another mover is at it.
    pub(super) async fn begin(place: Place<'a>, moving: &Move) -> Result<Self, Error> {
        let mut control = connect(&place.control).await?;
        lock(&mut control, moving).await?;
        let moving = record::read(&mut control, moving.id)
            .await?
            .ok_or_else(|| not_moved(moving, "the control database knows nothing of this move"))?;
        Ok(Self {
            control,
            control_at: place.control,
            source: place.source,
            target: place.target,
            moving,
            options: place.options,
            observer: place.observer,
            stop: place.stop,
            numbers: HashMap::new(),
            reached: SlotPosition(0),
            topics_of_target: Vec::new(),
        })
    }

    pub(super) async fn run(mut self) -> Result<MoveEnd, Error> {
        match self.moving.state {
            MoveState::Done => return Ok(MoveEnd::Done(self.moving)),
            MoveState::Undone => return Ok(MoveEnd::Undone(self.moving)),
            MoveState::Undoing => return self.undo("it was being undone").await,
            MoveState::Opening => return self.open(None).await,
            MoveState::Planned
            | MoveState::Copying
            | MoveState::Fencing
            | MoveState::CatchingUp
            | MoveState::Verifying
            | MoveState::Draining => {}
        }
        let Some(before) = self.approach().await? else {
            return Ok(MoveEnd::Stopped(self.moving));
        };
        self.go_over(before).await
    }

    /// Everything that can be done while the source takes appends. Returns how the source stood before
    /// anything was compared; `None` where it was told to stop.
    async fn approach(&mut self) -> Result<Option<Standing>, Error> {
        let standing = source::standing(&self.source, self.moving.slot).await?;
        let standing = standing
            .filter(|it| it.is_for(self.moving.id))
            .ok_or_else(|| self.refuse("its source does not own it any more: take the move back with --undo"))?;
        let ownership = Ownership(standing.ownership);
        self.go_on(MoveState::Copying).await?;
        let there = source::standing(&self.target, self.moving.slot).await?;
        self.reached = SlotPosition(there.map_or(0, |it| it.slot_position));
        self.topics_of_target = drain::topics(&self.target).await?;
        if standing.fenced {
            // Its writers wait already, and what an earlier mover compared is what is there: no fence
            // comes after a promotion or restoration that the comparison did not see, and one that
            // survives them has all before it with it.
            return Ok(Some(standing));
        }
        // The source may have lost its end and taken other events in its place since that was compared.
        self.verified_up_to(SlotPosition(0)).await?;
        if !self.bring_up(ownership).await? {
            return Ok(None);
        }
        self.passed(Step::Copied).await;
        Ok((!self.stop.is_cancelled()).then_some(standing))
    }

    /// Has the target keep up with the source, until the relays do, too. Returns whether they came to
    /// it, rather than were told to stop.
    async fn bring_up(&mut self, ownership: Ownership) -> Result<bool, Error> {
        let slot = self.moving.slot;
        let give_up = Instant::now() + self.options.relay_patience;
        let mut pace = drain::Pace::within(self.options.max_pause);
        loop {
            while self.copy(ownership).await? >= source::PAGE {
                if self.stop.is_cancelled() {
                    return Ok(false);
                }
            }
            self.copy_numbers().await?;
            verify::compare_events(&self.source, &self.target, slot, self.moving.verified, self.reached).await?;
            self.verified_up_to(self.reached).await?;
            let upto = pace.mark(source::last_to_publish(&self.source, slot).await?, Instant::now());
            let lagging = self.lagging(upto).await?;
            if lagging.is_none() && pace.reached(Instant::now()) {
                return Ok(true);
            }
            if Instant::now() >= give_up {
                return Err(self.refuse(&pace.complaint(&lagging.unwrap_or_default(), upto)));
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.stop.cancelled() => return Ok(false),
            }
        }
    }

    /// Shuts the slot at its source, and opens it at the target or, where that would take too long, at
    /// the source again.
    async fn go_over(mut self, before: Standing) -> Result<MoveEnd, Error> {
        self.go_on(MoveState::Fencing).await?;
        let shut = Instant::now();
        let limit = match self.options.fault {
            // Whoever waits there is waited for.
            Some(MoveFault::HangAfter(_)) => Duration::from_secs(3_600),
            _ => self.options.max_pause,
        };
        match timeout_at(shut + limit, self.behind_the_fence(&before)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return self.undo(&described(&error)).await,
            Err(_) => {
                let why = format!(
                    "writers would have waited for more than {} ms; it was {} then",
                    limit.as_millis(),
                    self.moving.state.as_str()
                );
                return self.undo(&why).await;
            }
        }
        self.decide(&MoveState::UNDECIDED, MoveState::Opening).await?;
        self.passed(Step::Decided).await;
        self.open(Some(shut)).await
    }

    async fn behind_the_fence(&mut self, before: &Standing) -> Result<(), Error> {
        let (slot, id, ownership) = (self.moving.slot, self.moving.id, Ownership(before.ownership));
        let end = if self.options.fault == Some(MoveFault::SkipFence) {
            let standing = source::standing(&self.source, slot).await?;
            SlotPosition(standing.map_or(0, |it| it.slot_position))
        } else {
            source::fence(&self.source, slot, id, before).await?
        };
        self.passed(Step::Fenced).await;
        self.go_on(MoveState::CatchingUp).await?;
        while self.reached < end && self.copy(ownership).await? > 0 {}
        if self.reached != end && self.options.fault != Some(MoveFault::SkipFence) {
            let why = format!("it ends at {end} and reaches to {} at the target", self.reached);
            return Err(self.refuse(&why));
        }
        self.copy_numbers().await?;
        self.passed(Step::CaughtUp).await;
        self.go_on(MoveState::Verifying).await?;
        verify::compare_events(&self.source, &self.target, slot, self.moving.verified, end).await?;
        if self.options.fault != Some(MoveFault::SkipFence) {
            verify::compare_order_numbers(&self.source, &self.target, slot).await?;
        }
        self.passed(Step::Verified).await;
        self.go_on(MoveState::Draining).await?;
        let upto = source::last_to_publish(&self.source, slot).await?;
        while self.lagging(upto).await?.is_some() {
            sleep(GLANCE).await;
        }
        self.passed(Step::Drained).await;
        Ok(())
    }

    /// From here there is no way back: the target takes appends, then the source forgets the fence.
    async fn open(mut self, shut: Option<Instant>) -> Result<MoveEnd, Error> {
        let standing = insist(|| {
            let skip_fence = self.options.fault == Some(MoveFault::SkipFence);
            hand_over::opened(
                self.source.clone(),
                self.target.clone(),
                self.moving.clone(),
                skip_fence,
            )
        })
        .await?;
        let pause_ms = shut.map(|shut| shut.elapsed().as_secs_f64() * 1_000.0);
        self.passed(Step::Opened).await;
        insist(|| hand_over::released(self.source.clone(), self.moving.clone())).await?;
        self.passed(Step::Released).await;
        let events = SlotPosition(standing.slot_position);
        let pause_ms = record::finish(&mut self.control, &self.moving, events, pause_ms).await?;
        self.moving.state = MoveState::Done;
        (self.moving.events, self.moving.pause_ms) = (Some(events.0), Some(pause_ms));
        Ok(MoveEnd::Done(self.moving))
    }

    /// The source takes appends again. What was copied stays at the target, for the next time.
    pub(super) async fn undo(mut self, why: &str) -> Result<MoveEnd, Error> {
        match self.moving.state {
            MoveState::Undone => return Ok(MoveEnd::Undone(self.moving)),
            MoveState::Opening if hand_over::never_opened(&self.source, &self.target, self.moving.slot).await? => {
                self.decide(&[MoveState::Opening], MoveState::Undoing).await?;
            }
            MoveState::Done | MoveState::Opening => {
                let why = "it was decided that the target takes over: finish with --resume, then move it back";
                return Err(self.refuse(why));
            }
            _ => self.decide(&MoveState::UNDECIDED, MoveState::Undoing).await?,
        }
        insist(|| hand_over::reopened(self.source.clone(), self.moving.clone())).await?;
        record::finish_undoing(&mut self.control, self.moving.id, why).await?;
        self.moving.state = MoveState::Undone;
        self.moving.reason = Some(why.to_owned());
        Ok(MoveEnd::Undone(self.moving))
    }

    /// Copies a page; returns how many events it had.
    async fn copy(&mut self, ownership: Ownership) -> Result<i64, Error> {
        let page = source::page(&self.source, self.moving.slot, self.reached).await?;
        if !page.is_empty() {
            self.reached = target::receive(&self.target, self.moving.slot, ownership, &page).await?;
        }
        Ok(i64::try_from(page.len()).unwrap_or(i64::MAX))
    }

    /// Tells the target of the counters that have gone on since it was told last.
    async fn copy_numbers(&mut self) -> Result<(), Error> {
        let mut numbers = source::order_numbers(&self.source, self.moving.slot).await?;
        numbers.retain(|(counter, number)| self.numbers.get(counter) != Some(number));
        target::receive_numbers(&self.target, self.moving.slot, &numbers).await?;
        self.numbers.extend(numbers);
        Ok(())
    }

    /// Source and target are equal up to there, as far as is known.
    async fn verified_up_to(&mut self, upto: SlotPosition) -> Result<(), Error> {
        if self.moving.verified != upto {
            record::note_verified(&mut self.control, self.moving.id, upto).await?;
            self.moving.verified = upto;
        }
        Ok(())
    }

    /// What lacks events up to `upto`, in words.
    async fn lagging(&self, upto: i64) -> Result<Option<String>, Error> {
        let abandoned = &self.options.abandoned_topics;
        let lagging = drain::lagging(&self.source, &self.topics_of_target, abandoned, upto).await?;
        let words: Vec<String> = lagging.iter().map(ToString::to_string).collect();
        Ok((!words.is_empty()).then(|| words.join("; ")))
    }

    /// Notes how far it has come. Nothing depends on it but who looks.
    async fn go_on(&mut self, to: MoveState) -> Result<(), Error> {
        if !record::advance(
            &mut self.control,
            self.moving.id,
            &MoveState::UNDECIDED,
            to,
            Kept::Probably,
        )
        .await?
        {
            return Err(self.refuse("another mover decided about it meanwhile"));
        }
        self.moving.state = to;
        Ok(())
    }

    /// Decides between opening and undoing. Where the answer is lost, it is asked for.
    async fn decide(&mut self, from: &[MoveState], to: MoveState) -> Result<(), Error> {
        let give_up = Instant::now() + PATIENCE_BEHIND_FENCE;
        let from = [from, &[to]].concat();
        loop {
            match record::advance(&mut self.control, self.moving.id, &from, to, Kept::Surely).await {
                Ok(true) => {
                    self.moving.state = to;
                    return Ok(());
                }
                Ok(false) => return Err(self.refuse("another mover decided about it meanwhile")),
                Err(error) if Instant::now() >= give_up => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
            if let Ok(mut control) = connect(&self.control_at).await {
                lock(&mut control, &self.moving).await?;
                self.control = control;
            }
        }
    }

    async fn passed(&self, step: Step) {
        (self.observer)(&self.moving, step);
        if self.options.fault == Some(MoveFault::HangAfter(step)) {
            pending::<()>().await;
        }
    }

    fn refuse(&self, reason: &str) -> Error {
        not_moved(&self.moving, reason)
    }
}

pub(super) fn not_moved(moving: &Move, reason: &str) -> Error {
    Error::NotMoved {
        slot: moving.slot,
        reason: reason.to_owned(),
    }
}

/// Tries until it is done, where a database is away for a moment.
async fn insist<T, F: Future<Output = Result<T, Error>>>(mut work: impl FnMut() -> F) -> Result<T, Error> {
    let give_up = Instant::now() + PATIENCE_BEHIND_FENCE;
    loop {
        match work().await {
            Err(Error::Unavailable { .. }) if Instant::now() < give_up => sleep(PAUSE).await,
            done => return done,
        }
    }
}

async fn connect(control: &PgConnectOptions) -> Result<PgConnection, Error> {
    timeout(CONNECT_TIMEOUT, control.connect())
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
        .map_err(unreachable)
}

/// Ends with the connection.
async fn lock(control: &mut PgConnection, moving: &Move) -> Result<(), Error> {
    let give_up = Instant::now() + PATIENCE_FOR_LOCK;
    loop {
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
            .bind(LOCK)
            .bind(i32::from(moving.slot.0))
            .fetch_one(&mut *control)
            .await
            .map_err(unreachable)?;
        if locked {
            return Ok(());
        }
        if Instant::now() >= give_up {
            return Err(not_moved(moving, "another process is moving it just now"));
        }
        sleep(PAUSE).await;
    }
}

/// An error with its causes, on one line.
fn described(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
