//! `comanda import`: real orders from a file.
//!
//! Guarantee: an order of the file is created at most once, however often the import runs. The
//! order's id is a function of where it comes from, and every attempt carries the same id, key and
//! body; so a crash, a lost answer or Ctrl-C at any moment is mended by running the same command
//! again. No state is kept beside the platform's own.
//!
//! Memory is bounded: the file is read record by record, at most `--concurrency` orders are under
//! way, and the reader waits for them.

mod columns;
mod file;
mod group;
mod line;
mod options;
mod order;
mod price;
mod read;
mod report;
mod send;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::{Currency, TimeZone};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use reqwest::StatusCode;
use serde::Deserialize;
use service::{Scope, Shutdown};
use tokio::sync::mpsc;

use self::line::noon;
pub(crate) use self::options::ImportArgs;
use self::order::Outgoing;
use self::read::{ReadError, Reading, Step};
use self::report::Reporter;
use self::send::{Outcome, SendError, send};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::platform::Platform;
use crate::rest::Rest;

/// How long orders under way may take to end after Ctrl-C.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Why an import cannot be started, or stops halfway.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error(
        "tenant {tenant} has no establishment {establishment}; create it first:\n  \
         curl -X PUT {url}/v1/establishments/{establishment} -H \"authorization: Bearer $(comanda token --tenant {tenant})\" \
         -H 'content-type: application/json' -d '{{\"name\": \"{establishment}\", \"time_zone\": \"America/New_York\", \"currency\": \"USD\"}}'"
    )]
    NoEstablishment {
        tenant: domain::TenantId,
        establishment: domain::EstablishmentId,
        url: String,
    },
    #[error("{0} has no noon on the establishment's clock")]
    NoNoon(chrono::NaiveDate),
    #[error("{} cannot be imported", path.display())]
    Open { path: PathBuf, source: ReadError },
    #[error("reading the file failed after what is counted above")]
    Read(#[source] ReadError),
    #[error("the import stopped; run the same command again to go on where it stopped")]
    Send(#[source] SendError),
}

/// What prices and times depend on.
#[derive(Debug, Deserialize)]
struct Establishment {
    time_zone: TimeZone,
    currency: Currency,
}

pub(crate) async fn run(context: &Context, args: ImportArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let platform = Platform::find(context)?;
    let scopes = [Scope::OrdersRead, Scope::OrdersWrite, Scope::CatalogWrite];
    let rest = platform.rest("import", &args.target.tenant, Some(&args.target.establishment), &scopes)?;
    let establishment = establishment(&rest, &args, platform.url()).await?;
    let date = args
        .target
        .date
        .map(|date| noon(date, establishment.time_zone).ok_or(ImportError::NoNoon(date)));
    let date = date.transpose().map_err(Failure::usage)?;

    let shutdown = Shutdown::new();
    shutdown.listen_to_signals().map_err(Failure::failed)?;
    let (file, dry_run, concurrency) = (args.file.clone(), args.dry_run, usize::from(args.concurrency));
    let reading = Reading::open(args, &establishment, date).map_err(|source| open_failure(&file, source))?;
    let mut reporter = Reporter::new(std::fs::metadata(&file).map_or(0, |file| file.len()));
    reporter.summary.dry_run = dry_run;
    let sink = Sink {
        rest: (!dry_run).then_some(&rest),
        currency: establishment.currency,
        concurrency,
    };
    let outcome = drive(reading, sink, &shutdown, &mut reporter).await;
    reporter.finish();
    reporter.summary.seconds = started.elapsed().as_secs_f64();
    reporter.summary.complete = outcome.is_ok() && !shutdown.is_triggered();
    print_summary(context, &reporter)?;
    outcome?;
    if shutdown.is_triggered() {
        eprintln!("interrupted; run the same command again to go on where it stopped");
        return Ok(Exit::Interrupted);
    }
    Ok(if reporter.summary.is_clean() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// A file that cannot be read is nobody's typing mistake; columns that do not fit are.
fn open_failure(file: &Path, source: ReadError) -> Failure {
    let is_io = matches!(source, ReadError::File(_));
    let error = ImportError::Open {
        path: file.to_owned(),
        source,
    };
    if is_io {
        Failure::failed(error)
    } else {
        Failure::usage(error)
    }
}

async fn establishment(rest: &Rest, args: &ImportArgs, url: &str) -> Result<Establishment, Failure> {
    let target = &args.target;
    match rest
        .get_as(&format!("/v1/establishments/{}", target.establishment))
        .await
    {
        Ok(establishment) => Ok(establishment),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
            Err(Failure::failed(ImportError::NoEstablishment {
                tenant: target.tenant.clone(),
                establishment: target.establishment.clone(),
                url: url.to_owned(),
            }))
        }
        Err(error) => Err(Failure::failed(error)),
    }
}

/// Where orders go.
#[derive(Debug, Clone, Copy)]
struct Sink<'a> {
    /// `None` in a dry run.
    rest: Option<&'a Rest>,
    currency: Currency,
    concurrency: usize,
}

/// Takes orders from the reader and sends them, `concurrency` at a time, until the file ends, the
/// user interrupts or the platform stays away.
async fn drive(reading: Reading, sink: Sink<'_>, shutdown: &Shutdown, reporter: &mut Reporter) -> Result<(), Failure> {
    let bytes_read = reading.bytes_read();
    let (sender, mut steps) = mpsc::channel(2 * sink.concurrency);
    let reader = tokio::task::spawn_blocking(move || reading.run(&sender));
    let mut under_way = FuturesUnordered::new();
    let mut at_end = false;
    loop {
        if shutdown.is_triggered() || (at_end && under_way.is_empty()) {
            break;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            Some((order, outcome)) = under_way.next() => judge(reporter, &order, outcome)?,
            step = steps.recv(), if !at_end && under_way.len() < sink.concurrency => match (step, sink.rest) {
                (None, _) => at_end = true,
                (Some(Step::BadLine { line, order, reason }), _) => {
                    reporter.bad_line(line, order.as_ref().map(domain::Text::as_str), reason);
                }
                (Some(Step::LeftOut { order, reason }), _) => reporter.refuse(&order, reason),
                (Some(Step::Order(order)), None) => reporter.would_send(&order, sink.currency),
                (Some(Step::Order(order)), Some(rest)) => under_way.push(async move {
                    let outcome = send(rest, &order).await;
                    (*order, outcome)
                }),
            },
        }
        reporter.progress(bytes_read.get());
    }
    // The reader ends when it finds nobody listening.
    drop(steps);
    let rest_of_answers = async {
        while let Some((order, outcome)) = under_way.next().await {
            judge(reporter, &order, outcome)?;
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        // Orders cut off here are settled by the next run.
        answered = tokio::time::timeout(LAST_ANSWERS, rest_of_answers) => answered.unwrap_or(Ok(()))?,
        () = shutdown.forced() => {}
    }
    match reader.await {
        Ok(read) => read.map_err(|error| Failure::failed(ImportError::Read(error))),
        Err(panicked) => Err(Failure::failed(panicked)),
    }
}

fn judge(reporter: &mut Reporter, order: &Outgoing, outcome: Result<Outcome, SendError>) -> Result<(), Failure> {
    let outcome = outcome.map_err(|error| Failure::failed(ImportError::Send(error)))?;
    reporter.judged(order, outcome);
    Ok(())
}

fn print_summary(context: &Context, reporter: &Reporter) -> Result<(), Failure> {
    match context.format {
        Format::Table | Format::Csv => context.print_pairs(&reporter.summary.rows()),
        Format::Json | Format::Ndjson => context.print_json(&serde_json::json!(reporter.summary)),
    }
}
