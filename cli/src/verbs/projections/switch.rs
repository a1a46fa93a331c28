//! `comanda projections switch|rollback|drop`: which generation is served, and which go.

use std::time::Duration;

use clap::Args;
use projector::rebuild::{self, Switched};
use serde_json::json;
use service::Settings;

use super::rebuild::failure;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::platform;
use crate::read_store::ReadStoreArg;

/// How long a query may use a generation that it resolved a moment ago (see query-api's replicas).
const RESOLVED: Duration = Duration::from_secs(1);

/// Send queries to another generation
///
/// Refused where it is behind the one that is served, in any slot. Nothing is copied: one pointer is
/// updated, and queries follow within a second.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections switch orders
  comanda projections switch orders --to 3

Exit codes: 0 switched; 1 refused, stderr says why; 2 usage.")]
pub(super) struct SwitchArgs {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    /// The generation [default: the newest that is fed]
    #[arg(long, value_name = "N")]
    to: Option<i32>,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

/// Send queries back to the generation that was served before
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections rollback orders

Exit codes: 0 switched back; 1 refused: no earlier generation is kept and fed; 2 usage.")]
pub(super) struct RollbackArgs {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

/// Free a generation that is not served
///
/// Waits until standbys know and no query can be reading it: as long as a request may take, and a second.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections drop orders --generation 2

Exit codes: 0 dropped; 1 refused, or standbys are behind: stderr says what to do; 2 usage; 130
interrupted: run it again.")]
pub(super) struct DropArgs {
    /// The read model
    #[arg(value_name = "NAME")]
    name: String,
    /// The generation
    #[arg(long, value_name = "N")]
    generation: i32,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

pub(super) async fn switch(context: &Context, args: SwitchArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let pool = args.read_store.connect(&databases).await?;
    let switched = rebuild::switch(&pool, &args.name, args.to).await.map_err(failure)?;
    print(context, &switched)
}

pub(super) async fn rollback(context: &Context, args: RollbackArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let pool = args.read_store.connect(&databases).await?;
    let switched = rebuild::rollback(&pool, &args.name).await.map_err(failure)?;
    print(context, &switched)
}

fn print(context: &Context, switched: &Switched) -> Result<Exit, Failure> {
    let Switched {
        read_model,
        from,
        to,
        can_roll_back,
    } = switched;
    match context.format {
        Format::Json | Format::Ndjson => context.print_json(&json!({
            "read_model": read_model, "from": from, "to": to, "can_roll_back": can_roll_back,
        }))?,
        Format::Table | Format::Csv => context.print_pairs(&[
            ("read_model", read_model.clone()),
            ("from", from.map_or_else(String::new, |from| from.to_string())),
            ("to", to.to_string()),
        ])?,
    }
    Ok(Exit::Done)
}

/// The longest that a query may hold on to a generation, from resolving it to its last row.
pub(crate) fn longest_read(settings: &Settings) -> Duration {
    settings.http.request_timeout() + RESOLVED
}

pub(super) async fn drop(context: &Context, args: DropArgs) -> Result<Exit, Failure> {
    let (settings, databases) = platform::databases(context).await?;
    let pool = args.read_store.connect(&databases).await?;
    let readers = longest_read(&settings);
    tokio::select! {
        dropped = rebuild::drop(&pool, &args.name, args.generation, readers) => dropped.map_err(failure)?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("interrupted; nobody is sent to the generation any more: run the same command again");
            return Ok(Exit::Interrupted);
        }
    }
    match context.format {
        Format::Json | Format::Ndjson => context.print_json(&json!({
            "read_model": args.name, "generation": args.generation, "state": "dropped",
        }))?,
        Format::Table | Format::Csv => context.print_pairs(&[
            ("read_model", args.name),
            ("generation", args.generation.to_string()),
            ("state", "dropped".to_owned()),
        ])?,
    }
    Ok(Exit::Done)
}
