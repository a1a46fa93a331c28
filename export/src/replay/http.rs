//! CloudEvents by POST: several connections, each with slots of its own, so that a slot's events are
//! posted one after another and the next only when the one before was taken.

use std::sync::Arc;
use std::time::Duration;

use event_store::{RecordedEvent, ShardId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ReplayProgress;
use super::cloud_event::CloudEvent;
use super::post::Post;
use crate::error::Error;

/// Events that wait for a connection.
const WAITING: usize = 1_000;

/// How events are put into requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One event a request: attributes in headers, the payload as body.
    Binary,
    /// Up to so many events a request, as `application/cloudevents-batch+json`.
    Batch(usize),
}

/// Who receives CloudEvents.
#[derive(Clone)]
pub struct HttpReceiver {
    pub url: String,
    pub mode: Mode,
    /// Requests at the same time.
    pub connections: usize,
    /// How long a receiver that is away or overloaded is tried again before the replay fails.
    pub patience: Duration,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
}

type Waiting = (ShardId, RecordedEvent);

pub(super) struct HttpSender {
    /// A slot's events always go to the same.
    connections: Vec<mpsc::Sender<Waiting>>,
    tasks: JoinSet<Result<(), Error>>,
}

impl HttpSender {
    pub(super) fn open(receiver: HttpReceiver, progress: &Arc<ReplayProgress>) -> Result<Self, Error> {
        let post = Arc::new(Post::new(receiver.url, receiver.token, receiver.patience)?);
        let (mut tasks, mut connections) = (JoinSet::new(), Vec::new());
        for _ in 0..receiver.connections.max(1) {
            let (sender, waiting) = mpsc::channel(WAITING);
            connections.push(sender);
            let (post, progress) = (Arc::clone(&post), Arc::clone(progress));
            tasks.spawn(async move {
                match receiver.mode {
                    Mode::Binary => one_by_one(&post, waiting, &progress).await,
                    Mode::Batch(size) => in_batches(&post, waiting, size.max(1), &progress).await,
                }
            });
        }
        Ok(Self { connections, tasks })
    }

    pub(super) async fn send(&mut self, shard: ShardId, event: RecordedEvent) -> Result<(), Error> {
        let at = usize::from(event.slot.0) % self.connections.len();
        if self.connections[at].send((shard, event)).await.is_ok() {
            return Ok(());
        }
        // It ended, and says why.
        self.first_failure().await?;
        Err(Error::Ended)
    }

    async fn first_failure(&mut self) -> Result<(), Error> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|_| Error::Ended)??;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), Error> {
        self.connections.clear();
        self.first_failure().await
    }
}

async fn one_by_one(post: &Post, mut waiting: mpsc::Receiver<Waiting>, progress: &ReplayProgress) -> Result<(), Error> {
    while let Some((shard, event)) = waiting.recv().await {
        let cloud_event = CloudEvent::of(shard, &event);
        let headers: Vec<(String, String)> = cloud_event.headers().collect();
        post.deliver(&headers, cloud_event.data().to_owned()).await?;
        progress.acknowledge(event.token());
    }
    Ok(())
}

/// As many as are there: a batch is not waited for, so a slow pace stays even.
async fn in_batches(
    post: &Post,
    mut waiting: mpsc::Receiver<Waiting>,
    size: usize,
    progress: &ReplayProgress,
) -> Result<(), Error> {
    let headers = [(
        "content-type".to_owned(),
        "application/cloudevents-batch+json".to_owned(),
    )];
    let mut events = Vec::with_capacity(size);
    while waiting.recv_many(&mut events, size).await > 0 {
        let batch: Vec<CloudEvent<'_>> = events
            .iter()
            .map(|(shard, event)| CloudEvent::of(*shard, event))
            .collect();
        let body = serde_json::to_string(&batch).map_err(|error| Error::Settings(error.to_string()))?;
        post.deliver(&headers, body).await?;
        for (_, event) in events.drain(..) {
            progress.acknowledge(event.token());
        }
    }
    Ok(())
}

impl std::fmt::Debug for HttpReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpReceiver")
            .field("url", &self.url)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
