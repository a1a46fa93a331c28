//! `comanda events tail`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use domain::{EventType, StreamId, TenantId};
use event_store::{Cursor, EventStore, LogFilter, RecordedEvent, SlotPosition};
use serde::Serialize;
use serde_json::value::RawValue;

use super::cursor::Reached;
use super::topic::TopicTail;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::{parts, platform};

const PAGE: usize = 500;
const RETRY: Duration = Duration::from_secs(1);
/// How long to wait for more before what was printed is shown, or the end is looked for.
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
  comanda events tail --from kafka --config cluster.toml -o ndjson | jq .payload
  comanda events tail --tenant dev -o json > dev.json

-o ndjson prints one JSON object a line; tables and CSV show the envelope without the payload.

Exit codes: 0 read to the end; 1 the log or Kafka cannot be read; 2 usage; 130 interrupted: the cursor
is on stderr.")]
pub(super) struct TailArgs {
    /// Where to read: the shards know everything; Kafka has what it still keeps
    #[arg(long, value_enum, default_value_t = Source::Shards)]
    from: Source,
    /// Only this tenant's events
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Only this stream's events, as in the events themselves (order:dev/0192…)
    #[arg(long, value_name = "STREAM", value_parser = parse_stream)]
    stream: Option<StreamId>,
    /// Only events of this type; repeat for more
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    types: Vec<EventType>,
    /// Only events behind this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    /// Go on as events are recorded
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    Shards,
    Kafka,
}

fn parse_stream(text: &str) -> Result<StreamId, String> {
    let stream = text
        .split_once(':')
        .and_then(|(kind, id)| StreamId::from_stored(kind, id));
    stream.ok_or_else(|| "must be KIND:TENANT/ID, as in order:dev/0192…".to_owned())
}

fn parse_type(text: &str) -> Result<EventType, String> {
    let known: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    let found = EventType::ALL.iter().find(|kind| kind.as_str() == text);
    found
        .copied()
        .ok_or_else(|| format!("must be one of {}", known.join(", ")))
}

pub(super) async fn run(context: &Context, args: TailArgs) -> Result<Exit, Failure> {
    let (settings, _) = platform::databases(context).await?;
    let mut out = Printer::new(context, args.after.as_ref())?;
    let interrupted = tokio::signal::ctrl_c();
    let read = async {
        match args.from {
            Source::Shards => {
                let store = EventStore::connect(parts::log_options(&settings))
                    .await
                    .map_err(Failure::failed)?;
                from_shards(&store, &args, &mut out).await
            }
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
    let end = match args.follow {
        true => None,
        false => Some(store.cursor_at_heads().await.map_err(Failure::failed)?),
    };
    let filter = LogFilter {
        tenant: args.tenant.clone(),
        stream: args.stream.clone(),
        types: args.types.clone(),
        ..LogFilter::default()
    };
    let mut follow = store.follow(filter, args.after.clone().unwrap_or_default());
    loop {
        if let Some(end) = &end
            && is_at(follow.cursor(), end, args)
        {
            return Ok(());
        }
        // Without a filter something always comes until the end; with one, ask again for the cursor.
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
            Ok(Err(error @ event_store::Error::Unavailable { .. })) if args.follow => {
                out.flush()?;
                eprintln!("note: {error}; going on");
                tokio::time::sleep(RETRY).await;
            }
            Ok(Err(error)) => return Err(Failure::failed(error)),
            Err(_) if end.is_some() => {}
            Err(_) => out.flush()?,
        }
    }
}

/// Whether every slot asked for was read to `end`.
fn is_at(cursor: &Cursor, end: &Cursor, args: &TailArgs) -> bool {
    let tenant = args.tenant.as_ref().or(args.stream.as_ref().map(StreamId::tenant));
    let wanted = tenant.map(event_store::Slot::of);
    end.tokens()
        .filter(|token| token.slot_position > SlotPosition(0) && wanted.is_none_or(|slot| slot == token.slot))
        .all(|token| cursor.position(token.slot) >= token.slot_position)
}

async fn from_topic(topic: &mut TopicTail, args: &TailArgs, out: &mut Printer<'_>) -> Result<(), Failure> {
    while let Some(event) = topic.next().await? {
        let wanted = args
            .tenant
            .as_ref()
            .is_none_or(|tenant| tenant == event.stream.tenant())
            && args.stream.as_ref().is_none_or(|stream| *stream == event.stream)
            && (args.types.is_empty() || args.types.iter().any(|kind| kind.as_str() == event.event_type));
        if !out.take(&event, wanted)? {
            return Ok(());
        }
    }
    Ok(())
}

/// An event as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    tenant: String,
    stream: String,
    sequence: i64,
    slot: u16,
    slot_position: i64,
    incarnation: i32,
    recorded_at: String,
    payload: &'a RawValue,
    metadata: std::collections::BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn of(event: &'a RecordedEvent) -> Self {
        let metadata = event.metadata.iter();
        Self {
            id: event.event_id.to_string(),
            kind: &event.event_type,
            version: &event.event_version,
            tenant: event.stream.tenant().to_string(),
            stream: event.stream.to_string(),
            sequence: event.sequence.0,
            slot: event.slot.0,
            slot_position: event.slot_position.0,
            incarnation: event.incarnation.0,
            recorded_at: event.recorded_at.to_string(),
            payload: &event.payload,
            metadata: metadata.map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        }
    }

    fn cells(&self) -> [String; 8] {
        [
            self.recorded_at.clone(),
            self.kind.to_owned(),
            self.version.to_owned(),
            self.stream.clone(),
            self.sequence.to_string(),
            self.slot.to_string(),
            self.slot_position.to_string(),
            self.id.clone(),
        ]
    }
}

const COLUMNS: [&str; 8] = [
    "recorded_at",
    "type",
    "version",
    "stream",
    "sequence",
    "slot",
    "slot_position",
    "id",
];

/// Writes events as they come, and knows how far it is.
struct Printer<'a> {
    context: &'a Context,
    out: std::io::BufWriter<std::io::Stdout>,
    reached: Reached,
    printed: u64,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context, after: Option<&Cursor>) -> Result<Self, Failure> {
        let mut printer = Self {
            context,
            out: std::io::BufWriter::new(std::io::stdout()),
            reached: after.map(Reached::of).unwrap_or_default(),
            printed: 0,
        };
        match context.format {
            Format::Csv => drop(printer.line(&COLUMNS.join(","))?),
            Format::Json => drop(printer.line("[")?),
            Format::Table | Format::Ndjson => {}
        }
        Ok(printer)
    }

    /// Prints the event unless it was printed before or is not `wanted`; a reader of Kafka gets some
    /// twice. `false`: nobody reads any more.
    fn take(&mut self, event: &RecordedEvent, wanted: bool) -> Result<bool, Failure> {
        if !self.reached.pass(event) || !wanted {
            return Ok(true);
        }
        let line = Line::of(event);
        let text = match self.context.format {
            Format::Ndjson => serde_json::to_string(&line).map_err(Failure::failed)?,
            Format::Json => {
                let comma = if self.printed == 0 { "" } else { "," };
                format!("{comma}{}", serde_json::to_string(&line).map_err(Failure::failed)?)
            }
            Format::Csv => line.cells().join(","),
            Format::Table => line.cells().join("  "),
        };
        self.printed += 1;
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> Result<bool, Failure> {
        use std::io::Write;
        still_read(writeln!(self.out, "{text}"))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        use std::io::Write;
        still_read(self.out.flush()).map(drop)
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
fn still_read(written: std::io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(error)),
    }
}
