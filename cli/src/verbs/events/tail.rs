//! `comanda events tail`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use event_store::{Cursor, EventStore, LogFilter, RecordedEvent};
use export::{EventWriter, Line};

use super::cursor::Reached;
use super::filter::FilterArgs;
use super::topic::TopicTail;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::{parts, platform};

const PAGE: usize = 500;
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait for more before what was printed is shown.
const QUIET: Duration = Duration::from_millis(200);

/// Print events as they are in the log, and follow it
///
/// Each slot's events come in order; between slots there is no order, and none is pretended, so the
/// cursor is a vector: one position for each slot. It is printed to stderr at the end and at Ctrl-C,
/// and --after goes on from it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda events tail
  comanda events tail --tenant dev --type OrderCreated --follow
  comanda events tail --after now --follow -o ndjson | jq .payload
  comanda events tail --source kafka --config cluster.toml -o csv
  comanda events tail --tenant dev --from 2026-03-01T00:00:00Z -o json > dev.json

-o ndjson prints one JSON object a line; -o csv the columns of `events export`; tables the envelope
without the payload.

Exit codes: 0 read to the end; 1 the log or Kafka cannot be read; 2 usage; 130 interrupted: the
cursor is on stderr.")]
pub(super) struct TailArgs {
    /// Where to read: the shards know everything; Kafka has what it still keeps
    #[arg(long, value_enum, default_value_t = Source::Shards)]
    source: Source,
    /// Go on as events are recorded
    #[arg(long, overrides_with = "no_follow")]
    follow: bool,
    /// End where the log stands now, which is the default
    #[arg(long, overrides_with = "follow")]
    no_follow: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    Shards,
    Kafka,
}

pub(super) async fn run(context: &Context, args: TailArgs) -> Result<Exit, Failure> {
    if args.follow && args.filter.ends() {
        return Err(Failure::usage("--follow has no end: leave out --until and --before"));
    }
    let (settings, _) = platform::databases(context).await?;
    let interrupted = tokio::signal::ctrl_c();
    let mut out = Printer::new(context)?;
    let read = async {
        match args.source {
            Source::Shards => {
                let store = EventStore::connect(parts::log_options(&settings))
                    .await
                    .map_err(Failure::failed)?;
                from_shards(&store, &args, &mut out).await
            }
            Source::Kafka if args.filter.names_shards() => Err(Failure::usage(
                "--shard is about the shards' own log: leave out --source kafka",
            )),
            Source::Kafka => {
                let mut topic = TopicTail::open(&settings.kafka, args.follow).await?;
                from_topic(&mut topic, &args, &mut out).await
            }
        }
    };
    let read = tokio::select! {
        done = read => done.map(|()| Exit::Done),
        _ = interrupted => Ok(Exit::Interrupted),
    };
    // Whatever ended it: what was printed is complete, and the cursor goes on from there.
    out.finish()?;
    read
}

/// Without `follow`, up to where every slot stood at the start.
async fn from_shards(store: &EventStore, args: &TailArgs, out: &mut Printer<'_>) -> Result<(), Failure> {
    let (filter, after) = (args.filter.filter(store)?, args.filter.after(store).await?);
    out.reached = Reached::of(&after);
    if args.follow {
        return follow(store, filter, after, out).await;
    }
    let until = args.filter.until(store).await?;
    let mut scan = store
        .scan(filter, &after, until.as_ref())
        .await
        .map_err(Failure::failed)?;
    while let Some(page) = scan.next().await.map_err(Failure::failed)? {
        for event in &page.events {
            if !out.take(event, true)? {
                return Ok(());
            }
        }
        out.flush()?;
    }
    out.reached.extend(scan.until());
    Ok(())
}

async fn follow(
    store: &EventStore,
    filter: LogFilter,
    mut after: Cursor,
    out: &mut Printer<'_>,
) -> Result<(), Failure> {
    if let Some(from) = filter.from {
        // What was recorded earlier need not be read to be passed over.
        for earlier in store.cursor_before(from).await.map_err(Failure::failed)?.tokens() {
            if after.position(earlier.slot) < earlier.slot_position {
                after.set(earlier);
            }
        }
    }
    let mut follow = store.follow(filter, after);
    loop {
        let next = tokio::time::timeout(QUIET, follow.next(PAGE)).await;
        match next {
            Ok(Ok(events)) => {
                for event in events {
                    if !out.take(&event, true)? {
                        return Ok(());
                    }
                }
            }
            // Nothing is lost by asking again.
            Ok(Err(error @ event_store::Error::Unavailable { .. })) => {
                out.flush()?;
                eprintln!("note: {error}; going on");
                tokio::time::sleep(RETRY).await;
            }
            Ok(Err(error)) => return Err(Failure::failed(error)),
            Err(_) => out.flush()?,
        }
    }
}

async fn from_topic(topic: &mut TopicTail, args: &TailArgs, out: &mut Printer<'_>) -> Result<(), Failure> {
    let filter = args.filter.conditions()?;
    let (after, until) = args.filter.given()?;
    out.reached = Reached::of(&after);
    while let Some(event) = topic.next().await? {
        let beyond = |until: &Cursor| event.slot_position > until.position(event.slot);
        if until.as_ref().is_some_and(beyond) {
            continue;
        }
        if !out.take(&event, filter.admits(&event))? {
            return Ok(());
        }
    }
    Ok(())
}

fn cells(line: &Line<'_>) -> [String; 8] {
    [
        line.recorded_at.clone(),
        line.kind.to_owned(),
        line.version.to_owned(),
        line.stream.clone(),
        line.sequence.to_string(),
        line.slot.to_string(),
        line.slot_position.to_string(),
        line.id.clone(),
    ]
}

/// What events are written to.
enum Out {
    /// Files' own formats.
    Events(EventWriter),
    /// For people, or as one document.
    Text(std::io::BufWriter<std::io::Stdout>),
}

/// Writes events as they come, and knows how far it is.
struct Printer<'a> {
    context: &'a Context,
    out: Out,
    reached: Reached,
    printed: u64,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context) -> Result<Self, Failure> {
        let events = |format| {
            let writer = EventWriter::new(format, Box::new(std::io::stdout()));
            writer.map(Out::Events).map_err(Failure::failed)
        };
        let mut printer = Self {
            out: match context.format {
                Format::Csv => events(export::Format::Csv)?,
                Format::Ndjson => events(export::Format::Ndjson)?,
                Format::Table | Format::Json => Out::Text(std::io::BufWriter::new(std::io::stdout())),
            },
            context,
            reached: Reached::default(),
            printed: 0,
        };
        if context.format == Format::Json {
            printer.line("[")?;
        }
        Ok(printer)
    }

    /// Prints the event unless it was printed before or is not `wanted`; a reader of Kafka gets some
    /// twice. `false`: nobody reads any more.
    fn take(&mut self, event: &RecordedEvent, wanted: bool) -> Result<bool, Failure> {
        if !self.reached.pass(event) || !wanted {
            return Ok(true);
        }
        self.printed += 1;
        if let Out::Events(out) = &mut self.out {
            return still_read(out.write(event));
        }
        let line = Line::of(event);
        let text = match self.context.format {
            Format::Json => {
                let comma = if self.printed == 1 { "" } else { "," };
                format!("{comma}{}", serde_json::to_string(&line).map_err(Failure::failed)?)
            }
            Format::Table | Format::Ndjson | Format::Csv => cells(&line).join("  "),
        };
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> Result<bool, Failure> {
        use std::io::Write;
        match &mut self.out {
            Out::Text(out) => still_read(writeln!(out, "{text}").map_err(export::Error::from)),
            Out::Events(_) => Ok(true),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        use std::io::Write;
        let flushed = match &mut self.out {
            Out::Text(out) => out.flush().map_err(export::Error::from),
            Out::Events(out) => out.flush(),
        };
        still_read(flushed).map(drop)
    }

    fn finish(mut self) -> Result<(), Failure> {
        if self.context.format == Format::Json {
            self.line("]")?;
        }
        self.flush()?;
        let cursor = self.reached.text();
        if !cursor.is_empty() {
            eprintln!("{} events; go on with --after {cursor}", self.printed);
        }
        Ok(())
    }
}

/// `false` where the reader has seen enough (`| head`), which is no error.
fn still_read(written: Result<(), export::Error>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(export::Error::Closed) => Ok(false),
        Err(error) => Err(Failure::failed(error)),
    }
}
