//! One stream: from the log to the bytes of an answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use domain::TenantId;
use event_store::{Error as StoreError, EventFilter, EventStore, PositionToken, RecordedEvent, SlotPosition};
use futures::Stream;
use futures::stream::unfold;
use service::auth::Principal;
use service::problem::Problem;
use service::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Streams;
use super::frame::{self, End};
use super::places::Place;
use crate::call::may_see;

/// Bytes of payload that a page is to hold, about. Its length follows from the size of the events
/// before.
const PAGE_BYTES: usize = 256 * 1024;
const PAGE_MAX: usize = 32;
/// Silence after which something is sent, so that nobody between takes the connection for dead:
/// shorter than a proxy waits for an ordinary answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How often the log is looked at where no sign comes.
const POLL: Duration = Duration::from_secs(1);
/// Pause before a log that could not be read is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long it is tried before the stream gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a client that was cut off waits before it comes back.
const RECONNECT_MS: u64 = 1_000;

/// What a stream gives, and from where.
pub(crate) struct Start {
    pub filter: EventFilter,
    /// The place that the client has read up to.
    pub after: PositionToken,
    /// Ends it after so many events.
    pub limit: Option<usize>,
}

/// A stream's place in the log.
pub(crate) struct EventStream {
    store: EventStore,
    principal: Principal,
    filter: EventFilter,
    /// Up to here everything was sent or passed over, or lies in `ready`.
    read: PositionToken,
    /// What the client was told last.
    told: SlotPosition,
    ready: VecDeque<RecordedEvent>,
    page: usize,
    left: Option<usize>,
    signs: Option<watch::Receiver<SlotPosition>>,
    spoke_at: Instant,
    failing_since: Option<Instant>,
    expires: Instant,
    stop: Shutdown,
    ended: bool,
    _place: Place,
}

/// What a look at the log found.
enum Look {
    Found,
    /// A stretch without a match; there may be more.
    PassedOver,
    /// Nothing more for now.
    AtEnd,
    End(End),
}

impl EventStream {
    /// # Errors
    /// 429 or 503 where there are too many already.
    pub(crate) fn open(
        streams: &Streams,
        store: EventStore,
        principal: Principal,
        start: Start,
    ) -> Result<Self, Problem> {
        let tenant = principal.tenant().tenant();
        Ok(Self {
            _place: streams.places.take(tenant)?,
            signs: streams.signs.of(start.after.slot),
            stop: streams.stop.clone(),
            expires: Instant::now() + remaining(&principal),
            store,
            principal,
            filter: start.filter,
            read: start.after,
            told: start.after.slot_position,
            ready: VecDeque::new(),
            page: 1,
            left: start.limit,
            spoke_at: Instant::now(),
            failing_since: None,
            ended: false,
        })
    }

    /// The answer's body. Whatever it does, it does while it is polled.
    pub(crate) fn into_body(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let opening = futures::stream::iter([Ok(frame::opening(RECONNECT_MS))]);
        let events = unfold(self, |mut stream| async {
            let bytes = stream.next().await?;
            stream.spoke_at = Instant::now();
            Some((Ok(bytes), stream))
        });
        futures::StreamExt::chain(opening, events)
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(end) = self.must_end() {
                return Some(self.end(end));
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(self.write(&event));
            }
            // Before the look, so that what is appended during it wakes us.
            if let Some(signs) = &mut self.signs {
                signs.borrow_and_update();
            }
            match self.look().await {
                Ok(Look::Found) => {}
                Ok(Look::PassedOver) => return Some(self.tell()),
                Ok(Look::AtEnd) => {
                    if let Some(bytes) = self.wait(POLL).await {
                        return Some(bytes);
                    }
                }
                Ok(Look::End(end)) => return Some(self.end(end)),
                Err(error) => {
                    if self.gives_up(&error) {
                        return Some(self.end(End::Unavailable));
                    }
                    if let Some(bytes) = self.pause().await {
                        return Some(bytes);
                    }
                }
            }
        }
    }

    fn must_end(&self) -> Option<End> {
        if self.left == Some(0) {
            Some(End::LimitReached)
        } else if self.stop.is_triggered() {
            Some(End::Stopping)
        } else if Instant::now() >= self.expires {
            Some(End::TokenExpired)
        } else {
            None
        }
    }

    fn end(&mut self, end: End) -> Bytes {
        self.ended = true;
        self.ready = VecDeque::new();
        frame::end(end)
    }

    fn write(&mut self, event: &RecordedEvent) -> Bytes {
        match frame::event(event) {
            Ok(bytes) => {
                self.told = event.slot_position;
                self.left = self.left.map(|left| left - 1);
                metrics::counter!("event_stream_events_total").increment(1);
                bytes
            }
            Err(error) => {
                tracing::error!(%error, event.id = %event.event_id, "an event cannot be shown");
                self.end(End::Unavailable)
            }
        }
    }

    /// Reads the next page, unless the log is no longer the one that was begun with.
    async fn look(&mut self) -> Result<Look, StoreError> {
        let tenant: TenantId = self.principal.tenant().tenant().clone();
        let head = self.store.head_of(&tenant).await?;
        if head.incarnation != self.read.incarnation || head.slot_position < self.read.slot_position {
            return Ok(Look::End(End::LogRestored));
        }
        let after = self.read.slot_position;
        if head.slot_position == after {
            self.failing_since = None;
            return Ok(Look::AtEnd);
        }
        let page = self.store.read_tenant(&tenant, &self.filter, after, self.page).await?;
        self.failing_since = None;
        if page
            .events
            .iter()
            .any(|event| event.incarnation != self.read.incarnation)
        {
            return Ok(Look::End(End::LogRestored));
        }
        self.read.slot_position = page.next;
        self.fit_page(&page.events);
        let seen = page.events.into_iter();
        self.ready
            .extend(seen.filter(|event| may_see(&self.principal, &event.metadata).is_ok()));
        Ok(if !self.ready.is_empty() {
            Look::Found
        } else if page.at_end {
            Look::AtEnd
        } else {
            Look::PassedOver
        })
    }

    /// The next page's length by the size of this one's events; growing only step by step, for the
    /// next ones may be large.
    fn fit_page(&mut self, events: &[RecordedEvent]) {
        let bytes: usize = events.iter().map(|event| event.payload.get().len()).sum();
        let fitting = (PAGE_BYTES * events.len()).checked_div(bytes).unwrap_or(PAGE_MAX);
        self.page = fitting.min(self.page * 2).clamp(1, PAGE_MAX);
    }

    /// Waits for a sign of more; returns what is to be sent meanwhile.
    async fn wait(&mut self, poll: Duration) -> Option<Bytes> {
        let silence_ends = self.spoke_at + KEEP_ALIVE;
        let sign = async {
            let shown = match &mut self.signs {
                Some(signs) => signs.changed().await.is_ok(),
                None => false,
            };
            if !shown {
                // Nobody shows any more: the poll finds what there is.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = sign => None,
            () = sleep(poll) => None,
            () = self.stop.cancelled() => None,
            () = sleep_until(self.expires) => None,
            () = sleep_until(silence_ends) => Some(self.tell()),
        }
    }

    /// As [`Self::wait`], where a sign would only make it fail the sooner.
    async fn pause(&mut self) -> Option<Bytes> {
        let silence_ends = self.spoke_at + KEEP_ALIVE;
        tokio::select! {
            () = sleep(PAUSE) => None,
            () = self.stop.cancelled() => None,
            () = sleep_until(self.expires) => None,
            () = sleep_until(silence_ends) => Some(self.tell()),
        }
    }

    /// How far this has come, where that is news.
    fn tell(&mut self) -> Bytes {
        if self.told == self.read.slot_position {
            return frame::keep_alive();
        }
        self.told = self.read.slot_position;
        frame::passed_over(self.read)
    }

    fn gives_up(&mut self, error: &StoreError) -> bool {
        let since = *self.failing_since.get_or_insert_with(|| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "an event stream cannot read the log; trying again"
            );
            Instant::now()
        });
        since.elapsed() >= PATIENCE
    }
}

/// How long the token still counts; bounded, so that it can be added to a time.
fn remaining(principal: &Principal) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);
    let left = principal.expires_at().as_datetime() - service::edge::now().as_datetime();
    left.to_std().unwrap_or(Duration::ZERO).min(LONGEST)
}
