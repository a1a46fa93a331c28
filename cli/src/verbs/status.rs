//! `comanda status`: every process, shard, slot range, partition, lag and replica at a glance.

use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::overview::{Overview, PartitionView, ProcessView, ReadStoreView, ShardView, TopicView};
use crate::platform;

/// Show every process, shard, partition, read store and lag
///
/// Looks at the platform that the settings describe, else at the one that runs in the data folder.
/// What does not answer is shown as such; nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda status
  comanda status --config cluster.toml
  comanda status -o json | jq '.shards[] | {shard, events, published}'

Exit codes: 0 shown, whatever the state; 1 there is no platform to look at; 2 usage.
`comanda doctor` judges what this shows.")]
pub(crate) struct StatusArgs {}

pub(crate) async fn run(context: &Context, StatusArgs {}: StatusArgs) -> Result<Exit, Failure> {
    let (settings, databases) = platform::databases(context).await?;
    if context.format == Format::Csv {
        return Err(Failure::usage("status is more than one table: use -o table or -o json"));
    }
    let overview = Overview::look(&settings, &databases).await;
    match context.format {
        Format::Json | Format::Ndjson => {
            let value = serde_json::to_value(&overview).map_err(Failure::failed)?;
            context.print_json(&value)?;
        }
        Format::Table | Format::Csv => print(context, &overview)?,
    }
    Ok(Exit::Done)
}

fn print(context: &Context, overview: &Overview) -> Result<(), Failure> {
    let section = |title: &str, table: &Table| {
        Context::print_line(&format!("{title}\n"))?;
        context.print_table(table)?;
        Context::print_line("")
    };
    match &overview.processes {
        Some(processes) => section("PROCESSES", &of_processes(processes))?,
        None => Context::print_line("PROCESSES\n\nthe control database does not answer\n")?,
    }
    section("SHARDS", &of_shards(&overview.shards))?;
    if let Some(topic) = &overview.topic {
        let title = match &topic.problem {
            None => format!("TOPIC {}", topic.topic),
            Some(problem) => format!("TOPIC {}: {problem}", topic.topic),
        };
        section(&title, &of_partitions(topic))?;
    }
    section("READ STORES", &of_read_stores(&overview.read_stores))
}

fn of_processes(processes: &[ProcessView]) -> Table {
    let mut table = Table::new(["role", "process", "url", "version", "started", "state", "problems"]);
    for process in processes {
        table.row([
            process.role.clone(),
            process.name.clone(),
            process.url.clone(),
            process.version.clone(),
            process.started_at.clone(),
            process.state.clone(),
            process.problems.join("; "),
        ]);
    }
    table
}

fn of_shards(shards: &[ShardView]) -> Table {
    let mut table = Table::new([
        "shard",
        "state",
        "slots",
        "events",
        "incarnation",
        "standbys",
        "unpublished",
        "relay",
    ]);
    for shard in shards {
        let published = shard.published.as_ref();
        let relay = published.map(|published| published.relay.clone().unwrap_or_else(|| "nobody".to_owned()));
        table.row([
            shard.shard.to_string(),
            shard.problem.clone().unwrap_or_else(|| shard.state.clone()),
            shard.slots.clone(),
            shard.events.to_string(),
            shard.incarnation.to_string(),
            shard.standbys.to_string(),
            published.map_or_else(|| "-".to_owned(), |published| published.lag_events.to_string()),
            relay.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn of_partitions(topic: &TopicView) -> Table {
    let mut table = Table::new(["partition", "end offset", "events", "lag", "slots in use"]);
    for partition in &topic.partitions {
        table.row([
            partition.partition.to_string(),
            partition
                .end_offset
                .map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
            partition.events.to_string(),
            lags(partition),
            partition.slots.clone(),
        ]);
    }
    table
}

fn lags(partition: &PartitionView) -> String {
    let lags: Vec<String> = partition
        .lag_events
        .iter()
        .map(|(store, lag)| format!("{store} {lag}"))
        .collect();
    lags.join(", ")
}

fn of_read_stores(stores: &[ReadStoreView]) -> Table {
    let mut table = Table::new([
        "read store",
        "standby",
        "state",
        "lag events",
        "replay lag ms",
        "parked",
        "ahead",
    ]);
    for store in stores {
        table.row([
            store.store.clone(),
            store.standby.clone().unwrap_or_else(|| "-".to_owned()),
            store.problem.clone().unwrap_or_else(|| store.state.clone()),
            store.lag_events.to_string(),
            store
                .replay_lag_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}")),
            store.parked_streams.to_string(),
            store.slots_ahead.to_string(),
        ]);
    }
    table
}
