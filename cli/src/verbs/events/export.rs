//! `comanda events export`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use event_store::EventStore;
use export::{Format, Progress, ROUND_EVENTS, Request, Target};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::filter::FilterArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::{output, parts, platform, terminal};

/// Write events to files: JSON lines, CSV or Parquet
///
/// An export is a prefix of the log: it ends where every slot stood when it began, however many orders
/// are taken meanwhile. Each tenant's and each stream's events are in order; between slots there is no
/// order. A folder gets a partition for each tenant and day (UTC) that events were recorded on, and
/// --resume goes on where an export ended, was interrupted or was killed: without loss, without doubles.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda events export --to orders.ndjson --tenant dev
  comanda events export --to - -o csv --type OrderCreated --from 2026-03-01T00:00:00Z > orders.csv
  comanda events export --to lake -o parquet
  comanda events export --to lake -o parquet --resume
  duckdb -c \"SELECT tenant, day, sum(total_minor) FROM 'lake/**/*.parquet' GROUP BY ALL\"

Without -o the format is that of the name's ending. A name with an ending is one file, which is
there when it is whole; any other is a folder; `-` is stdout.

Exit codes: 0 exported; 1 the log cannot be read or a file not written; 2 usage; 130 interrupted:
stderr says how to go on.")]
pub(super) struct ExportArgs {
    /// A file, a folder, or - for stdout
    #[arg(long, value_name = "TARGET")]
    to: PathBuf,
    /// Go on with the export in the folder; one that is complete gets what was recorded since
    #[arg(long)]
    resume: bool,
    /// Events after which a folder's files count, and --resume need not repeat them
    #[arg(long, value_name = "N", default_value_t = ROUND_EVENTS, value_parser = clap::value_parser!(u64).range(1..))]
    round_events: u64,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result<Exit, Failure> {
    let format = format(context, &args.to)?;
    let target = target(&args, format)?;
    let (settings, _) = platform::databases(context).await?;
    let store = EventStore::connect(parts::log_options(&settings))
        .await
        .map_err(Failure::failed)?;
    let request = Request {
        filter: args.filter.filter(&store)?,
        format,
        after: args.filter.after(&store).await?,
        until: args.filter.until(&store).await?,
    };
    let progress = Arc::new(Progress::default());
    let drawing = tokio::spawn(draw(Arc::clone(&progress)));
    let exported = export::export(&store, request, target, progress, interrupted()).await;
    drawing.abort();
    match exported {
        // A reader that has seen enough (`| head`) is not an error.
        Err(export::Error::Closed) => Ok(Exit::Done),
        Err(error) => Err(failure(error, &args)),
        Ok(exported) => {
            tell(&args, &exported);
            Ok(if exported.complete {
                Exit::Done
            } else {
                Exit::Interrupted
            })
        }
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_stream(to: &Path) -> bool {
    to.as_os_str() == "-"
}

/// Whether the name is a folder's.
fn is_folder(to: &Path) -> bool {
    to.is_dir() || by_ending(to).is_none()
}

fn by_ending(to: &Path) -> Option<Format> {
    match to.extension()?.to_str()? {
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        "csv" => Some(Format::Csv),
        "parquet" => Some(Format::Parquet),
        _ => None,
    }
}

fn format(context: &Context, to: &Path) -> Result<Format, Failure> {
    let asked = match context.format {
        _ if context.parquet => Some(Format::Parquet),
        output::Format::Ndjson => Some(Format::Ndjson),
        output::Format::Csv => Some(Format::Csv),
        output::Format::Json => {
            return Err(Failure::usage(
                "events are exported as ndjson, csv or parquet: -o ndjson",
            ));
        }
        output::Format::Table => None,
    };
    let found = asked.or_else(|| by_ending(to));
    found.ok_or_else(|| Failure::usage("say in which format: -o ndjson, -o csv or -o parquet"))
}

fn target(args: &ExportArgs, format: Format) -> Result<Target, Failure> {
    let folder = !is_stream(&args.to) && is_folder(&args.to);
    if args.resume && !folder {
        return Err(Failure::usage(
            "only a folder can be gone on with: --resume goes with --to FOLDER",
        ));
    }
    if is_stream(&args.to) {
        if format == Format::Parquet {
            return Err(Failure::usage("Parquet goes to a file or a folder, not to stdout"));
        }
        return Ok(Target::Stream(Box::new(std::io::stdout())));
    }
    Ok(match folder {
        true => Target::Folder {
            path: args.to.clone(),
            resume: args.resume,
            round_events: args.round_events,
        },
        false => Target::File(args.to.clone()),
    })
}

fn failure(error: export::Error, args: &ExportArgs) -> Failure {
    let resumable = matches!(error, export::Error::Stopped { .. }) && !is_stream(&args.to) && is_folder(&args.to);
    match error {
        export::Error::Stopped { source, .. } if resumable => {
            Failure::failed(*source).with_remedy("run the same command again with --resume")
        }
        export::Error::Stopped { source, .. } if !is_stream(&args.to) => {
            Failure::failed(*source).with_remedy("run the same command again; the file was not begun")
        }
        error
        @ (export::Error::NotEmpty(_) | export::Error::NothingToResume(_) | export::Error::OtherExport { .. }) => {
            Failure::usage(error)
        }
        error => Failure::failed(error),
    }
}

fn tell(args: &ExportArgs, exported: &export::Exported) {
    let (events, to) = (exported.events, args.to.display());
    if exported.complete {
        match is_stream(&args.to) {
            true => eprintln!("{events} events; what comes later: --after {}", exported.cursor),
            false => eprintln!("{events} events in {to}"),
        }
    } else if is_stream(&args.to) {
        eprintln!(
            "interrupted after {events} events; go on with --after {}",
            exported.cursor
        );
    } else if is_folder(&args.to) {
        eprintln!("interrupted: {events} events are in {to}; go on with the same command and --resume");
    } else {
        eprintln!("interrupted: {to} was not written; run the same command again, or export to a folder");
    }
}

async fn draw(progress: Arc<Progress>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if !terminal::stderr_is_rich() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} events {per_sec} eta {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    loop {
        pause.tick().await;
        bar.set_length(progress.to_look_at.load(Ordering::Relaxed));
        bar.set_position(progress.looked_at.load(Ordering::Relaxed));
    }
}
