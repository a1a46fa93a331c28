//! Sending a prefix of the log once more, to Kafka or over HTTP, at a chosen speed.
//!
//! Guarantee: every event that the scan yields reaches the receiver at least once, and each slot's
//! first occurrences in order. The cursor of a replay passes only what the receiver has acknowledged.
//! On a crash, or when it is stopped, a replay begun at that cursor repeats what was on its way and
//! leaves nothing out. Pacing is by the times at which the log recorded the events; it orders nothing.

mod cloud_event;
mod http;
mod kafka;
mod merge;
mod pace;
mod post;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_store::{Cursor, EventStore, LogFilter, PositionToken, RecordedEvent, ShardId};
use service::settings::KafkaSettings;
use tokio::sync::watch;

use self::http::HttpSender;
pub use self::http::{HttpReceiver, Mode};
use self::kafka::KafkaSender;
use self::merge::Merge;
pub use self::pace::Pace;
use self::pace::Pacer;
use crate::error::Error;
use crate::part::{EventWriter, Format, Output};

/// Where a replay goes.
pub enum Receiver {
    /// A topic, with records as the relay writes them. It must be there.
    Kafka {
        settings: Box<KafkaSettings>,
        topic: String,
    },
    /// CloudEvents by POST.
    Http(HttpReceiver),
    /// Whatever takes bytes, such as stdout; not Parquet.
    Stream(Output, Format),
}

/// What to send, and how fast.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    pub filter: LogFilter,
    pub after: Cursor,
    /// `None`: where the log stands now.
    pub until: Option<Cursor>,
    pub pace: Pace,
}

/// How far a running replay is.
#[derive(Debug)]
pub struct ReplayProgress {
    /// Events to look at; 0 while that is not known.
    pub to_look_at: AtomicU64,
    pub looked_at: AtomicU64,
    /// Events that were acknowledged.
    pub sent: AtomicU64,
    cursor: watch::Sender<Cursor>,
}

impl ReplayProgress {
    /// Of a replay that is to begin behind `after`.
    pub fn new(after: &Cursor) -> Arc<Self> {
        Arc::new(Self {
            to_look_at: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cursor: watch::Sender::new(after.clone()),
        })
    }

    /// Where to go on: nothing that matches and lies up to here has to be sent again.
    pub fn cursor(&self) -> Cursor {
        self.cursor.borrow().clone()
    }

    fn acknowledge(&self, event: PositionToken) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.cursor.send_modify(|cursor| cursor.set(event));
    }

    fn complete(&self, until: &Cursor) {
        self.cursor.send_modify(|cursor| cursor.extend(until));
    }
}

/// Replays to the end of the request. Dropping the future stops it; `progress` then says where to go
/// on.
///
/// # Errors
/// [`Error`]; `progress` says where to go on.
pub async fn replay(
    store: &EventStore,
    request: ReplayRequest,
    receiver: Receiver,
    progress: &Arc<ReplayProgress>,
) -> Result<(), Error> {
    let mut sender = Sender::open(receiver, progress).await?;
    let scan = store
        .scan(request.filter, &request.after, request.until.as_ref())
        .await?;
    progress.to_look_at.store(scan.to_look_at(), Ordering::Relaxed);
    let until = scan.until().clone();
    let (mut events, mut pacer) = (Merge::new(scan), Pacer::new(request.pace));
    while let Some((shard, event)) = events.next(progress).await? {
        if let Some(due) = pacer.due(event.recorded_at) {
            sender.idle(due).await?;
        }
        sender.send(shard, event).await?;
    }
    sender.finish().await?;
    progress.complete(&until);
    Ok(())
}

enum Sender {
    Kafka(Box<KafkaSender>),
    Http(HttpSender),
    Stream(EventWriter, Arc<ReplayProgress>),
}

impl Sender {
    async fn open(receiver: Receiver, progress: &Arc<ReplayProgress>) -> Result<Self, Error> {
        let progress = Arc::clone(progress);
        Ok(match receiver {
            Receiver::Kafka { settings, topic } => {
                Self::Kafka(Box::new(KafkaSender::open(&settings, topic, progress).await?))
            }
            Receiver::Http(receiver) => Self::Http(HttpSender::open(receiver, &progress)?),
            Receiver::Stream(output, format) => Self::Stream(EventWriter::new(format, output)?, progress),
        })
    }

    /// Takes an event, waiting while too many are on their way.
    async fn send(&mut self, shard: ShardId, event: RecordedEvent) -> Result<(), Error> {
        match self {
            Self::Kafka(sender) => sender.send(shard, &event).await,
            Self::Http(sender) => sender.send(shard, event).await,
            Self::Stream(part, progress) => {
                part.write(&event)?;
                progress.acknowledge(event.token());
                Ok(())
            }
        }
    }

    /// Waits until `due`; what was sent is seen by then.
    async fn idle(&mut self, due: tokio::time::Instant) -> Result<(), Error> {
        if due <= tokio::time::Instant::now() {
            return Ok(());
        }
        match self {
            Self::Kafka(sender) => tokio::select! {
                settled = sender.settle() => settled?,
                () = tokio::time::sleep_until(due) => return Ok(()),
            },
            Self::Http(_) => {}
            Self::Stream(part, _) => part.flush()?,
        }
        tokio::time::sleep_until(due).await;
        Ok(())
    }

    /// Waits until everything was acknowledged.
    async fn finish(self) -> Result<(), Error> {
        match self {
            Self::Kafka(mut sender) => sender.settle().await,
            Self::Http(sender) => sender.finish().await,
            Self::Stream(mut part, _) => part.flush(),
        }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kafka { topic, .. } => write!(f, "topic {topic}"),
            Self::Http(receiver) => receiver.fmt(f),
            Self::Stream(..) => f.write_str("a stream"),
        }
    }
}
