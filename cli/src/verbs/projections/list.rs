//! `comanda projections list|lag`: which generations there are, and how far behind the log.

use std::time::Duration;

use clap::Args;
use event_store::EventStore;
use projector::rebuild::{self, GenerationStatus, RebuildStatus};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::parts;
use crate::platform;
use crate::read_store::ReadStoreArg;

/// Between the two readings that rates are told from.
const SAMPLE: Duration = Duration::from_millis(500);

/// List read models with their generations: what is served, how far each is, and how it was filled
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections list
  comanda projections list --by-slots
  comanda projections list --config cluster.toml --read-store main -o json

States: live generations are fed by projectors, served or not; filling ones by a rebuild; scratch
ones are as of a position; retired ones are kept, but not fed; dropping ones are about to go.

Exit codes: 0 done; 1 the read store or a shard does not answer; 2 usage.")]
pub(super) struct ListArgs {
    /// How far each is, by ranges of 64 slots
    #[arg(long)]
    by_slots: bool,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

/// Show how far the served read models are behind the log, in events and in time
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections lag
  comanda projections lag --watch
  comanda projections lag --watch 10 -o ndjson

Exit codes: 0 done; 1 the read store or a shard does not answer; 2 usage; 130 a watch was
interrupted.")]
pub(super) struct LagArgs {
    /// Show it again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

/// The log and a read store.
pub(super) async fn connect(context: &Context, read_store: &ReadStoreArg) -> Result<(EventStore, PgPool), Failure> {
    let (settings, databases) = platform::databases(context).await?;
    let pool = read_store.connect(&databases).await?;
    let store = EventStore::connect(parts::log_options(&settings)).await;
    Ok((store.map_err(Failure::failed)?, pool))
}

pub(super) async fn list(context: &Context, args: ListArgs) -> Result<Exit, Failure> {
    let (store, pool) = connect(context, &args.read_store).await?;
    let listed = rebuild::list(&store, &pool, Some(SAMPLE))
        .await
        .map_err(Failure::failed)?;
    match (context.format, args.by_slots) {
        (Format::Json | Format::Ndjson, _) => print_objects(context, &listed, args.by_slots)?,
        (Format::Table | Format::Csv, false) => context.print_table(&generations(&listed))?,
        (Format::Table | Format::Csv, true) => context.print_table(&ranges(&listed))?,
    }
    Ok(Exit::Done)
}

fn print_objects(context: &Context, listed: &[GenerationStatus], by_slots: bool) -> Result<(), Failure> {
    let mut objects = vec![];
    for generation in listed {
        let mut object = serde_json::to_value(generation).map_err(Failure::failed)?;
        if !by_slots && let Some(fields) = object.as_object_mut() {
            fields.remove("ranges");
        }
        objects.push(object);
    }
    if context.format == Format::Ndjson {
        return objects.iter().try_for_each(|object| context.print_json(object));
    }
    context.print_json(&Value::Array(objects))
}

fn generations(listed: &[GenerationStatus]) -> Table {
    let mut table = Table::new([
        "read_model",
        "generation",
        "state",
        "served",
        "code_version",
        "created",
        "events",
        "lag_events",
        "lag_ms",
        "slots_behind",
        "events_per_second",
        "parked_streams",
        "filled_by",
    ]);
    for it in listed {
        table.row([
            it.read_model.clone(),
            it.generation.to_string(),
            it.state.clone(),
            yes(it.served),
            it.code_version.to_string(),
            it.created_at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            it.events.to_string(),
            it.lag_events.to_string(),
            format!("{:.0}", it.lag_ms),
            it.slots_behind.to_string(),
            it.events_per_second
                .map_or_else(String::new, |rate| format!("{rate:.0}")),
            it.parked_streams.to_string(),
            it.rebuild.as_ref().map_or_else(|| "projectors".to_owned(), filled_by),
        ]);
    }
    table
}

fn yes(served: bool) -> String {
    if served { "yes".to_owned() } else { String::new() }
}

/// `rebuild: filling 43 %, 12000 events/s, 38 s left`
fn filled_by(rebuild: &RebuildStatus) -> String {
    let kind = if rebuild.as_of.is_some() { "build" } else { "rebuild" };
    let state = &rebuild.state;
    match (state.as_str(), rebuild.held) {
        ("filling" | "verifying", false) => format!("{kind}: interrupted; run it again"),
        ("filling", true) => {
            let percent = rebuild.events_done * 100 / rebuild.events_total.max(1);
            let rate = rebuild
                .events_per_second
                .map_or_else(String::new, |rate| format!(", {rate:.0} events/s"));
            let left = rebuild
                .remaining_ms
                .map_or_else(String::new, |ms| format!(", {:.0} s left", ms / 1_000.0));
            format!("{kind}: filling {percent} %{rate}{left}")
        }
        _ => format!("{kind}: {state}"),
    }
}

fn ranges(listed: &[GenerationStatus]) -> Table {
    let mut table = Table::new([
        "read_model",
        "generation",
        "slots",
        "events",
        "lag_events",
        "slots_behind",
        "parked_streams",
    ]);
    for it in listed {
        for range in &it.ranges {
            table.row([
                it.read_model.clone(),
                it.generation.to_string(),
                format!("{}-{}", range.first_slot, range.last_slot),
                range.events.to_string(),
                range.lag_events.to_string(),
                range.slots_behind.to_string(),
                range.parked_streams.to_string(),
            ]);
        }
    }
    table
}

pub(super) async fn lag(context: &Context, args: LagArgs) -> Result<Exit, Failure> {
    let (store, pool) = connect(context, &args.read_store).await?;
    let Some(seconds) = args.watch else {
        show_lag(context, &store, &pool).await?;
        return Ok(Exit::Done);
    };
    loop {
        show_lag(context, &store, &pool).await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
    }
}

async fn show_lag(context: &Context, store: &EventStore, pool: &PgPool) -> Result<(), Failure> {
    let listed = rebuild::list(store, pool, None).await.map_err(Failure::failed)?;
    let served = listed.iter().filter(|it| it.served);
    if matches!(context.format, Format::Json | Format::Ndjson) {
        let objects: Vec<Value> = served
            .map(|it| {
                json!({
                    "read_model": it.read_model, "generation": it.generation, "lag_events": it.lag_events,
                    "lag_ms": it.lag_ms, "slots_behind": it.slots_behind,
                })
            })
            .collect();
        return match context.format {
            Format::Ndjson => objects.iter().try_for_each(|object| context.print_json(object)),
            _ => context.print_json(&Value::Array(objects)),
        };
    }
    let mut table = Table::new(["read_model", "generation", "lag_events", "lag_ms", "slots_behind"]);
    for it in served {
        table.row([
            it.read_model.clone(),
            it.generation.to_string(),
            it.lag_events.to_string(),
            format!("{:.0}", it.lag_ms),
            it.slots_behind.to_string(),
        ]);
    }
    context.print_table(&table)
}
