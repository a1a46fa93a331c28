//! `comanda shards`: looking at shards, adding some, moving slots between them, and opening those that
//! were promoted or restored.

mod add;
mod moves;
mod moving;
mod plan;
mod reopen;
mod slots;

pub(crate) use self::moves::as_json as move_as_json;
pub(crate) use self::slots::SlotSet;

use std::time::Duration;

use clap::{Args, Subcommand};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use self::add::AddArgs;
use self::moves::MovesArgs;
use self::moving::MoveArgs;
use self::plan::PlanArgs;
use self::reopen::{ReopenArgs, Why};
use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::overview::Overview;
use crate::platform;

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Look at shards, add some, move slots between them, and open those that were promoted or restored
#[derive(Debug, Args)]
pub(crate) struct ShardsArgs {
    #[command(subcommand)]
    verb: ShardsVerb,
}

#[derive(Debug, Subcommand)]
enum ShardsVerb {
    List(ListArgs),
    Add(AddArgs),
    Move(MoveArgs),
    Moves(MovesArgs),
    Plan(PlanArgs),
    #[command(alias = "promoted", about = "Open a shard again after its standby was promoted")]
    Promote(ReopenArgs),
    #[command(about = "Open a shard again after its backup was restored")]
    Restored(ReopenArgs),
}

/// List the shards with their slots
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards list
  comanda shards list --config cluster.toml -o csv

Exit codes: 0 done; 1 there is no platform to look at; 2 usage.")]
struct ListArgs {}

pub(crate) async fn run(context: &Context, args: ShardsArgs) -> Result<Exit, Failure> {
    match args.verb {
        ShardsVerb::List(ListArgs {}) => list(context).await,
        ShardsVerb::Add(args) => add::run(context, args).await,
        ShardsVerb::Move(args) => moving::run(context, args).await,
        ShardsVerb::Moves(args) => moves::run(context, args).await,
        ShardsVerb::Plan(args) => plan::run(context, args).await,
        ShardsVerb::Promote(args) => reopen::run(context, args, Why::Promoted).await,
        ShardsVerb::Restored(args) => reopen::run(context, args, Why::Restored).await,
    }
}

pub(super) async fn control(databases: &Databases) -> Result<PgConnection, Failure> {
    let unreachable = |why: String| Failure::failed(format!("cannot connect to the control database: {why}"));
    match timeout(PATIENCE, PgConnection::connect(databases.control())).await {
        Ok(connected) => connected.map_err(|error| unreachable(error.to_string())),
        Err(_) => Err(unreachable("it does not answer".to_owned())),
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (settings, databases) = platform::databases(context).await?;
    let overview = Overview::look(&settings, &databases).await;
    let mut table = Table::new(["shard", "state", "slots", "events", "incarnation", "standbys"]).with_numbers([
        "shard",
        "events",
        "incarnation",
        "standbys",
    ]);
    for shard in overview.shards {
        table.row([
            shard.shard.to_string(),
            shard.problem.unwrap_or(shard.state),
            shard.slots,
            shard.events.to_string(),
            shard.incarnation.to_string(),
            shard.standbys.to_string(),
        ]);
    }
    context.print_table(&table)?;
    Ok(Exit::Done)
}
