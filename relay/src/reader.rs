//! Reads a shard's log ahead of what is being sent.
//!
//! Other processes append; this one is not woken by them. So it looks at the log's end, one row by
//! its key: often while there is news, seldom while there is none. Without this the tail's own poll
//! would find the same events a little later.

use std::time::{Duration, Instant};

use event_store::{EventStore, Position, RecordedEvent, ShardId};
use service::settings::RelaySettings;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Row};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::error::Error;

/// News that came within this time make more likely.
const BUSY_FOR: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
/// The tail waits for an event that is to be published; past this, those that are not are reported.
const PASSING: Duration = Duration::from_millis(500);

/// Events to send, and how far the log is read with them.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) until: Position,
}

pub(crate) struct Reader {
    pub(crate) store: EventStore,
    pub(crate) shard: ShardId,
    pub(crate) url: PgConnectOptions,
    pub(crate) batch_max: usize,
    pub(crate) busy: Duration,
    pub(crate) idle: Duration,
    pub(crate) pages: mpsc::Sender<Result<Page, Error>>,
}

impl Reader {
    pub(crate) fn intervals(settings: &RelaySettings) -> (Duration, Duration) {
        let ms = |ms: u32| Duration::from_millis(u64::from(ms.max(1)));
        (ms(settings.busy_poll_ms), ms(settings.idle_poll_ms))
    }

    /// Reads until nobody takes the pages any more, or the shard cannot be read.
    pub(crate) async fn run(self, after: Position) {
        if let Err(error) = self.read(after).await {
            let _ = self.pages.send(Err(error)).await;
        }
    }

    async fn read(&self, after: Position) -> Result<(), Error> {
        let mut tail = self.store.tail(self.shard, after)?;
        let mut connection = bounded(self.url.connect()).await?;
        let mut news = Instant::now();
        loop {
            let head = bounded(end_of_log(&mut connection)).await?;
            if head <= tail.position() {
                let pause = if news.elapsed() < BUSY_FOR {
                    self.busy
                } else {
                    self.idle
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.pages.closed() => return Ok(()),
                }
                continue;
            }
            news = Instant::now();
            let events = timeout(PASSING, tail.next(self.batch_max))
                .await
                .unwrap_or(Ok(Vec::new()))?;
            let page = Page {
                events,
                until: tail.position(),
            };
            if self.pages.send(Ok(page)).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn end_of_log(connection: &mut PgConnection) -> Result<Position, sqlx::Error> {
    let row = sqlx::query("SELECT position FROM shard").fetch_one(connection).await?;
    row.try_get(0).map(Position)
}

async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(late)
        .map_err(Error::shard("look for new events"))
}
