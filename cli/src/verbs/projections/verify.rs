//! `comanda projections verify`: read models held against the log.

use clap::Args;
use domain::TenantId;
use event_store::EventStore;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use sqlx::PgPool;
use verify::{Difference, Kind, Report, Scope, Target};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::read_store::ReadStoreArg;
use crate::{parts, platform, terminal};

/// Characters of a value that a table shows.
const SHOWN: usize = 160;

/// Hold read models against the log, row by row
///
/// Folds the log by code that shares nothing with the projectors, to exactly the position that the rows
/// have reached, and says which rows differ, in what, and why as far as it can be told. Nothing is
/// locked and nothing written: it may run while the store serves. A read model that lags differs in
/// nothing; streams that are parked are expected as they stood before their first parked event.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections verify
  comanda projections verify orders daily_sales --tenant dev
  comanda projections verify orders --generation 2
  comanda projections verify --config cluster.toml --replica -o ndjson

Exit codes: 0 nothing differs; 1 it could not be found out; 2 usage; 3 something differs; 130
interrupted (nothing was changed: run it again).")]
pub(crate) struct VerifyArgs {
    /// The read models [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only this tenant's rows
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// A generation of the one read model that is named [default: the one that is served]
    #[arg(long, value_name = "N")]
    generation: Option<i32>,
    #[command(flatten)]
    read_store: ReadStoreArg,
    /// Look at the read store's first standby
    #[arg(long)]
    replica: bool,
    /// Slots looked at at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    workers: u8,
}

pub(super) async fn run(context: &Context, args: VerifyArgs) -> Result<Exit, Failure> {
    if args.generation.is_some() && args.names.len() != 1 {
        return Err(Failure::usage("--generation goes with one read model")
            .with_remedy("name it, such as `comanda projections verify orders --generation 2`"));
    }
    let (settings, databases) = platform::databases(context).await?;
    let read_store = match args.replica {
        true => args.read_store.connect_replica(&databases).await?,
        false => args.read_store.connect(&databases).await?,
    };
    let targets = targets(&read_store, &args).await?;
    let options = parts::log_options(&settings);
    let store = EventStore::connect(options).await.map_err(Failure::failed)?;
    let scope = Scope {
        tenant: args.tenant,
        workers: usize::from(args.workers),
    };
    let bar = bar();
    let observe = |progress: &verify::Progress| {
        bar.set_length(progress.slots);
        bar.set_position(progress.slots_done);
        bar.set_message(format!("{} rows, {} differ", progress.rows, progress.differences));
    };
    let report = tokio::select! {
        report = verify::run_observed(&store, &read_store, &targets, &scope, &observe) => report,
        _ = tokio::signal::ctrl_c() => {
            bar.finish_and_clear();
            eprintln!("interrupted; nothing was changed: run it again");
            return Ok(Exit::Interrupted);
        }
    };
    bar.finish_and_clear();
    let report = report.map_err(Failure::failed)?;
    print(context, &report)?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::Partly })
}

async fn targets(read_store: &PgPool, args: &VerifyArgs) -> Result<Vec<Target>, Failure> {
    let remedy = |error: verify::Error| match error {
        error @ verify::Error::UnknownReadModel { .. } => Failure::usage(error),
        error => Failure::failed(error),
    };
    if args.names.is_empty() {
        return Target::served(read_store).await.map_err(remedy);
    }
    let mut targets = vec![];
    for name in &args.names {
        targets.push(Target::find(read_store, name, args.generation).await.map_err(remedy)?);
    }
    Ok(targets)
}

fn bar() -> ProgressBar {
    if !terminal::stderr_is_rich() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} slots  {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn print(context: &Context, report: &Report) -> Result<(), Failure> {
    match context.format {
        Format::Json => context.print_json(&summary(report))?,
        Format::Ndjson => {
            for difference in &report.differences {
                context.print_json(&as_json(difference))?;
            }
        }
        Format::Table | Format::Csv => context.print_table(&table(report))?,
    }
    let Report {
        slots,
        tenants,
        rows,
        events,
        ..
    } = report;
    let differ = report.differences.len() as u64 + report.omitted;
    let verdict = match differ {
        0 => "nothing differs".to_owned(),
        1 => "1 difference".to_owned(),
        more => format!("{more} differences"),
    };
    eprintln!("{verdict}: {rows} rows of {tenants} tenants in {slots} slots held against {events} events");
    if report.omitted > 0 {
        eprintln!("{} of them are only counted; --tenant narrows it down", report.omitted);
    }
    Ok(())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new([
        "read_model",
        "generation",
        "table",
        "slot",
        "tenant",
        "key",
        "kind",
        "what",
        "why",
    ]);
    for difference in &report.differences {
        table.row([
            difference.read_model.clone(),
            difference.generation.to_string(),
            difference.table.to_owned(),
            difference.slot.map_or_else(String::new, |slot| slot.to_string()),
            difference.tenant.clone(),
            difference.key_text(),
            difference.kind.name().to_owned(),
            shortened(&difference.what()),
            difference.why.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// On one line, and not endless: what does not fit is in `-o json`.
fn shortened(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

pub(crate) fn summary(report: &Report) -> Value {
    let fingerprints = report.fingerprints.iter().map(|((read_model, tenant), print)| {
        json!({
            "read_model": read_model, "tenant": tenant, "slot_position": print.at, "rows": print.rows,
            "fingerprint": print.to_string(),
        })
    });
    json!({
        "clean": report.is_clean(), "slots": report.slots, "tenants": report.tenants, "rows": report.rows,
        "events": report.events, "omitted": report.omitted,
        "differences": report.differences.iter().map(as_json).collect::<Vec<_>>(),
        "fingerprints": fingerprints.collect::<Vec<_>>(),
    })
}

fn as_json(difference: &Difference) -> Value {
    let key: serde_json::Map<String, Value> = difference
        .key
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let mut value = json!({
        "read_model": difference.read_model, "generation": difference.generation, "table": difference.table,
        "slot": difference.slot, "tenant": difference.tenant, "key": key, "kind": difference.kind.name(),
        "what": difference.what(), "why": difference.why,
    });
    match &difference.kind {
        Kind::Changed(columns) => {
            let columns = columns
                .iter()
                .map(|column| json!({"column": column.column, "expected": column.expected, "found": column.found}));
            value["columns"] = columns.collect();
        }
        Kind::OtherTenant { belongs_to } => value["belongs_to"] = json!(belongs_to),
        Kind::CheckpointAhead { checkpoint, agreed } => {
            value["checkpoint"] = json!(checkpoint);
            value["agreed"] = json!(agreed);
        }
        Kind::NotParked { sequence } => value["sequence"] = json!(sequence),
        Kind::Missing | Kind::Extra | Kind::CheckpointMissing | Kind::Fleeting => {}
    }
    value
}
