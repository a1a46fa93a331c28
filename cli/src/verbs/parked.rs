//! `comanda parked`: streams that a read model could not fold on.

use std::time::Duration;

use clap::{Args, Subcommand};
use domain::TenantId;
use event_store::{EventStore, ShardId};
use projector::parked::{self, Content, ParkedStream, Selection, Shown};
use projector::{Registered, ShardLog, registry};
use serde_json::{Value, json};
use service::Settings;
use sqlx::PgPool;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::read_store::ReadStoreArg;
use crate::{parts, platform};

/// Look at streams that a read model could not fold on, retry them, or give them up
#[derive(Debug, Args)]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    verb: ParkedVerb,
}

#[derive(Debug, Subcommand)]
enum ParkedVerb {
    List(ListArgs),
    Show(ShowArgs),
    Retry(RetryArgs),
    Drop(DropArgs),
}

#[derive(Debug, Args)]
struct Which {
    /// Only of this read model
    #[arg(long, alias = "model", value_name = "NAME", value_parser = known_read_model)]
    read_model: Option<String>,
    /// Only of this generation
    #[arg(long, value_name = "N")]
    generation: Option<i32>,
    /// Only of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

/// List the parked streams
///
/// Each with the event that could not be applied, how many wait, why, and since when. Everything else of
/// the read model goes on; queries tell the tenant.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda parked list
  comanda parked list --read-model orders --tenant dev -o json

Exit codes: 0 done, also where nothing is parked; 1 there is no platform to look at; 2 usage.")]
struct ListArgs {
    #[command(flatten)]
    which: Which,
}

/// Show a parked stream with the events that wait, as the log has them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda parked show 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201
  comanda parked show order:dev/5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --read-model orders -o json

Exit codes: 0 done; 1 no such stream is parked, or there is no platform; 2 usage.")]
struct ShowArgs {
    /// The stream (kind:tenant/id), or its id alone
    stream: String,
    #[command(flatten)]
    which: Which,
}

/// Try parked streams again, through today's code
///
/// Each in order and as far as it goes, in every generation that projectors feed. Safe while they run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda parked retry --all
  comanda parked retry --read-model daily_sales
  comanda parked retry 5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201

Exit codes: 0 none of them is parked any more; 1 it could not be done; 2 usage; 3 some still are.")]
struct RetryArgs {
    /// The stream (kind:tenant/id), or its id alone
    #[arg(required_unless_present_any = ["all", "read_model", "tenant"])]
    stream: Option<String>,
    /// Every parked stream
    #[arg(long, conflicts_with = "stream")]
    all: bool,
    #[command(flatten)]
    which: Which,
}

/// Give up the events that wait behind a parked stream
///
/// The stream is then out of those generations until the read model is rebuilt: its rows stay as of the
/// last event that was applied, later events pass it by, and queries go on telling the tenant. The log
/// keeps everything. Without --yes it only says what would be given up.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda parked drop order:dev/5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201
  comanda parked drop order:dev/5a0c8f0e-1b8a-5c53-9e39-6f1c8f0ed201 --read-model orders --yes

Exit codes: 0 done; 1 no such stream is parked, or it could not be done; 2 usage, also without
--yes.")]
struct DropArgs {
    /// The stream (kind:tenant/id), or its id alone where no other tenant's has it
    stream: String,
    #[command(flatten)]
    which: Which,
    /// Really do it
    #[arg(long)]
    yes: bool,
}

fn known_read_model(name: &str) -> Result<String, String> {
    let known: Vec<&str> = registry::all().iter().map(Registered::name).collect();
    let found = known.iter().find(|known| **known == name);
    found
        .map(|name| (*name).to_owned())
        .ok_or_else(|| format!("must be one of {}", known.join(", ")))
}

pub(crate) async fn run(context: &Context, args: ParkedArgs) -> Result<Exit, Failure> {
    match args.verb {
        ParkedVerb::List(args) => list(context, args).await,
        ParkedVerb::Show(args) => show(context, args).await,
        ParkedVerb::Retry(args) => retry(context, args).await,
        ParkedVerb::Drop(args) => give_up(context, args).await,
    }
}

impl Which {
    fn selection(&self, stream: Option<&str>) -> Selection {
        Selection {
            read_model: self.read_model.clone(),
            generation: self.generation,
            tenant: self.tenant.clone(),
            stream: stream.map(str::to_owned),
        }
    }

    async fn open(&self, context: &Context) -> Result<(Settings, PgPool), Failure> {
        let (settings, databases) = platform::databases(context).await?;
        Ok((settings, self.read_store.connect(&databases).await?))
    }
}

/// Reads slots wherever they are, so any shard's will do.
async fn log(settings: &Settings) -> Result<ShardLog, Failure> {
    let store = EventStore::connect(parts::log_options(settings))
        .await
        .map_err(Failure::failed)?;
    let first = store.shards().first().copied().unwrap_or(ShardId(0));
    Ok(ShardLog::new(store, first))
}

async fn list(context: &Context, args: ListArgs) -> Result<Exit, Failure> {
    let (_, read_store) = args.which.open(context).await?;
    let selection = args.which.selection(None);
    let parked = parked::list(&read_store, &selection).await.map_err(Failure::failed)?;
    print_list(context, &parked)?;
    Ok(Exit::Done)
}

fn print_list(context: &Context, parked: &[ParkedStream]) -> Result<(), Failure> {
    match context.format {
        Format::Json => context.print_json(&parked.iter().map(as_json).collect()),
        Format::Ndjson => parked.iter().try_for_each(|it| context.print_json(&as_json(it))),
        Format::Table | Format::Csv => {
            let columns = [
                "read_model",
                "generation",
                "stream",
                "first_sequence",
                "waiting",
                "age",
                "state",
                "error",
            ];
            let mut table = Table::new(columns);
            for it in parked {
                table.row([
                    it.read_model.clone(),
                    it.generation.to_string(),
                    it.stream.to_string(),
                    it.first.to_string(),
                    it.waiting.to_string(),
                    rounded(it.age),
                    state(it).to_owned(),
                    it.error.replace('\n', " "),
                ]);
            }
            context.print_table(&table)
        }
    }
}

fn state(parked: &ParkedStream) -> &'static str {
    if parked.dropped { "dropped" } else { "parked" }
}

/// The two largest units do for an operator.
fn rounded(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

pub(crate) fn as_json(it: &ParkedStream) -> Value {
    json!({
        "read_model": it.read_model, "generation": it.generation, "served": it.served,
        "stream": it.stream.to_string(), "tenant": it.stream.tenant(), "slot": it.slot, "first_sequence": it.first,
        "waiting": it.waiting, "error": it.error, "age_seconds": it.age.as_secs(), "state": state(it),
    })
}

async fn show(context: &Context, args: ShowArgs) -> Result<Exit, Failure> {
    let (settings, read_store) = args.which.open(context).await?;
    let selection = args.which.selection(Some(&args.stream));
    let log = log(&settings).await?;
    let shown = parked::show(&read_store, &log, &selection)
        .await
        .map_err(Failure::failed)?;
    if shown.is_empty() {
        return Err(not_parked(&args.stream));
    }
    match context.format {
        Format::Json => context.print_json(&shown.iter().map(shown_json).collect())?,
        Format::Ndjson => shown.iter().try_for_each(|it| context.print_json(&shown_json(it)))?,
        Format::Table | Format::Csv => print_shown(context, &shown)?,
    }
    Ok(Exit::Done)
}

fn not_parked(stream: &str) -> Failure {
    Failure::failed(format!("no stream {stream} is parked there"))
        .with_remedy("`comanda parked list` shows those that are; name one as kind:tenant/id or by its id")
}

fn print_shown(context: &Context, shown: &[Shown]) -> Result<(), Failure> {
    let columns = [
        "read_model",
        "stream",
        "sequence",
        "slot_position",
        "type",
        "version",
        "recorded_at",
        "problem",
        "payload",
    ];
    let mut table = Table::new(columns);
    for Shown { parked, events } in shown {
        for event in events {
            let text = |of: fn(&Content) -> String| event.content.as_ref().map_or_else(String::new, of);
            let first = event.sequence == parked.first;
            let problem = match &event.content {
                _ if first => parked.error.clone(),
                None => "the log does not have it".to_owned(),
                Some(content) => content.unreadable.clone().unwrap_or_default(),
            };
            table.row([
                parked.read_model.clone(),
                parked.stream.to_string(),
                event.sequence.to_string(),
                event.slot_position.to_string(),
                text(|content| content.event_type.clone()),
                text(|content| content.event_version.clone()),
                text(|content| content.recorded_at.to_string()),
                problem.replace('\n', " "),
                text(|content| content.payload.get().to_owned()),
            ]);
        }
        let more = parked.waiting - i64::try_from(events.len()).unwrap_or(i64::MAX);
        if more > 0 {
            eprintln!("{more} more events of {} wait for {}", parked.stream, parked.read_model);
        }
        if parked.dropped {
            eprintln!(
                "{} was given up for {}: {}",
                parked.stream, parked.read_model, parked.error
            );
        }
    }
    context.print_table(&table)
}

fn shown_json(Shown { parked, events }: &Shown) -> Value {
    let mut value = as_json(parked);
    let events = events.iter().map(|event| {
        let content = event.content.as_ref().map(|content| {
            json!({
                "type": content.event_type, "version": content.event_version, "recorded_at": content.recorded_at,
                "metadata": content.metadata, "payload": content.payload, "unreadable": content.unreadable,
            })
        });
        json!({"sequence": event.sequence, "slot_position": event.slot_position, "content": content})
    });
    value["events"] = events.collect();
    value
}

async fn retry(context: &Context, args: RetryArgs) -> Result<Exit, Failure> {
    let (settings, read_store) = args.which.open(context).await?;
    let selection = args.which.selection(args.stream.as_deref());
    let log = log(&settings).await?;
    let retried = parked::retry_selected(&read_store, &log, &registry::all(), &selection)
        .await
        .map_err(|error| Failure::failed(error).with_remedy("what was applied stays; run it again and it goes on"))?;
    if let (0, 0, Some(stream)) = (retried.freed_streams, retried.still_parked, &args.stream) {
        return Err(not_parked(stream));
    }
    if matches!(context.format, Format::Json | Format::Ndjson) {
        context.print_json(&json!({
            "freed_streams": retried.freed_streams, "still_parked": retried.still_parked,
            "applied_events": retried.applied_events,
        }))?;
    } else {
        context.print_pairs(&[
            ("freed streams", retried.freed_streams.to_string()),
            ("still parked", retried.still_parked.to_string()),
            ("applied events", retried.applied_events.to_string()),
        ])?;
    }
    Ok(if retried.still_parked == 0 {
        Exit::Done
    } else {
        Exit::Partly
    })
}

async fn give_up(context: &Context, args: DropArgs) -> Result<Exit, Failure> {
    let (_, read_store) = args.which.open(context).await?;
    let selection = args.which.selection(Some(&args.stream));
    let mut parked = parked::list(&read_store, &selection).await.map_err(Failure::failed)?;
    parked.retain(|it| !it.dropped);
    let Some(first) = parked.first() else {
        return Err(not_parked(&args.stream));
    };
    if parked.iter().any(|it| it.stream != first.stream) {
        return Err(Failure::usage(format!("{} names more than one stream", args.stream))
            .with_remedy(format!("name it in full, such as {}", first.stream)));
    }
    if !args.yes {
        print_list(context, &parked)?;
        return Err(Failure::usage("nothing was given up")
            .with_remedy("--yes gives up what is listed; it comes back only by rebuilding the read model"));
    }
    let selection = Selection {
        stream: Some(first.stream.to_string()),
        ..selection
    };
    let dropped = parked::drop(&read_store, &selection).await.map_err(Failure::failed)?;
    let mut table = Table::new(["read_model", "generation", "stream", "events"]).with_numbers(["generation", "events"]);
    for it in &dropped {
        table.row([
            it.read_model.clone(),
            it.generation.to_string(),
            it.stream.to_string(),
            it.events.to_string(),
        ]);
    }
    context.print_table(&table)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_units() {
        let told = [9, 61, 3_720, 100_000].map(|seconds| rounded(Duration::from_secs(seconds)));
        assert_eq!(told, ["9s", "1m1s", "1h2m", "1d3h"]);
    }
}
