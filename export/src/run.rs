//! From the log to files.
//!
//! Guarantee: an export ends where the log stood when it began, and holds every event up to there that
//! matches, once. Shards are read in parallel, by a few pages ahead of a thread that writes; between
//! them are bounded queues, so memory does not grow with the log. On a crash: see [`crate::folder`]
//! (a folder goes on) and [`crate::file`] (a file is begun again).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event_store::{Cursor, EventStore, LogFilter, Scan, ScanPage};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::file::OneFile;
use crate::folder::Folder;
use crate::part::{Format, Output};
use crate::selection;

/// Pages between the log's readers and the writer.
const PAGES_AHEAD: usize = 2;
/// Events after which a folder's files are made to count.
pub const ROUND_EVENTS: u64 = 2_000_000;

/// Where an export goes.
pub enum Target {
    /// One file, complete or not there.
    File(PathBuf),
    /// A folder of one file or more for each tenant and day.
    Folder {
        path: PathBuf,
        /// Go on with what is there.
        resume: bool,
        /// See [`ROUND_EVENTS`].
        round_events: u64,
    },
    /// Whatever takes bytes, such as stdout.
    Stream(Output),
}

/// What to export.
#[derive(Debug, Clone)]
pub struct Request {
    pub filter: LogFilter,
    pub format: Format,
    pub after: Cursor,
    /// `None`: where the log stands now.
    pub until: Option<Cursor>,
}

/// How far a running export is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events to look at; 0 while that is not known.
    pub to_look_at: AtomicU64,
    pub looked_at: AtomicU64,
    /// Events written.
    pub events: AtomicU64,
}

/// How an export ended.
#[derive(Debug, Clone)]
pub struct Exported {
    /// All that lies up to here is written: what a later one goes on from.
    pub cursor: Cursor,
    /// Events in the file, or in the folder, earlier ones included.
    pub events: u64,
    /// Whether it went to its end; `false`: it was stopped.
    pub complete: bool,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) | Self::Folder { path, .. } => write!(f, "{}", path.display()),
            Self::Stream(_) => f.write_str("a stream"),
        }
    }
}

enum Sink {
    Folder(Box<Folder>),
    File(Box<OneFile>),
}

impl Sink {
    fn write(&mut self, page: ScanPage) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.write(page),
            Self::File(file) => file.write(&page),
        }
    }

    fn finish(self, complete: bool) -> Result<(Cursor, u64), Error> {
        match self {
            Self::Folder(folder) => folder.finish(complete),
            Self::File(file) => file.finish(complete),
        }
    }
}

/// Exports. When `stop` is ready before the end, what was written is made to count as far as the
/// target can, and the cursor says how far that is.
///
/// # Errors
/// [`Error`]. A folder can be gone on with after any of them.
pub async fn export(
    store: &EventStore,
    request: Request,
    target: Target,
    progress: Arc<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Exported, Error> {
    let (sink, scan) = prepare(store, &request, target).await?;
    progress.to_look_at.store(scan.to_look_at(), Ordering::Relaxed);
    let (pages, incoming) = mpsc::channel(PAGES_AHEAD);
    let writing = tokio::task::spawn_blocking(move || write(sink, incoming, &progress));
    tokio::select! {
        read = read(scan, &pages) => ended(read, pages, writing).await,
        () = stop => {
            drop(pages);
            let (cursor, events) = joined(writing).await?;
            Ok(Exported { cursor, events, complete: false })
        }
    }
}

async fn prepare(store: &EventStore, request: &Request, target: Target) -> Result<(Sink, Scan), Error> {
    let (filter, format) = (&request.filter, request.format);
    let (mut sink, after, until) = match target {
        Target::File(path) => (
            Sink::File(Box::new(OneFile::create(&path, format, &request.after)?)),
            None,
            None,
        ),
        Target::Stream(output) => (
            Sink::File(Box::new(OneFile::stream(output, format, &request.after)?)),
            None,
            None,
        ),
        Target::Folder {
            path,
            resume,
            round_events,
        } => {
            let selection = selection::in_words(filter, &request.after, request.until.as_ref());
            let folder = Folder::open(&path, format, &selection, &request.after, resume, round_events)?;
            let (after, until) = (folder.cursor().clone(), folder.until());
            (Sink::Folder(Box::new(folder)), Some(after), until)
        }
    };
    let after = after.unwrap_or_else(|| request.after.clone());
    let until = until.or_else(|| request.until.clone());
    let scan = store.scan(filter.clone(), &after, until.as_ref()).await?;
    if let Sink::Folder(folder) = &mut sink {
        folder.begin(scan.until())?;
    }
    Ok((sink, scan))
}

enum Message {
    Page(ScanPage),
    /// Nothing is left.
    End(Cursor),
}

async fn read(mut scan: Scan, pages: &mpsc::Sender<Message>) -> Result<(), Error> {
    while let Some(page) = scan.next().await? {
        if pages.send(Message::Page(page)).await.is_err() {
            // The writer says why.
            return Ok(());
        }
    }
    drop(pages.send(Message::End(scan.until().clone())).await);
    Ok(())
}

async fn ended(
    read: Result<(), Error>,
    pages: mpsc::Sender<Message>,
    writing: JoinHandle<Result<(Cursor, u64), Error>>,
) -> Result<Exported, Error> {
    drop(pages);
    let (cursor, events) = joined(writing).await?;
    match read {
        Ok(()) => Ok(Exported {
            cursor,
            events,
            complete: true,
        }),
        Err(source) => Err(Error::Stopped {
            cursor: Box::new(cursor),
            source: Box::new(source),
        }),
    }
}

async fn joined(writing: JoinHandle<Result<(Cursor, u64), Error>>) -> Result<(Cursor, u64), Error> {
    writing.await.map_err(|_| Error::Ended)?
}

fn write(mut sink: Sink, mut incoming: mpsc::Receiver<Message>, progress: &Progress) -> Result<(Cursor, u64), Error> {
    while let Some(message) = incoming.blocking_recv() {
        match message {
            Message::Page(page) => {
                let (looked_at, events) = (page.looked_at, page.events.len() as u64);
                sink.write(page)?;
                progress.looked_at.fetch_add(looked_at, Ordering::Relaxed);
                progress.events.fetch_add(events, Ordering::Relaxed);
            }
            Message::End(until) => {
                // Slots of which nothing was to be read are passed as well.
                let end = ScanPage {
                    shard: event_store::ShardId(0),
                    events: Vec::new(),
                    passed: until,
                    looked_at: 0,
                };
                sink.write(end)?;
                return sink.finish(true);
            }
        }
    }
    sink.finish(false)
}
