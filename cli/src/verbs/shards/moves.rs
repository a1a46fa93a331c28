//! `comanda shards moves`, and how moves are shown.

use clap::Args;
use event_store::{Move, recorded_moves};
use serde_json::{Value, json};

use super::control;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::platform;

/// List moves of slots, the latest first, with the pause that writers saw
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards moves
  comanda shards moves --last 1000 -o csv

A pause is the time, in milliseconds, in which the slot took no appends. A move that is neither done
nor undone is finished with `comanda shards move --resume` or taken back with --undo.

Exit codes: 0 done; 1 the control database cannot be read; 2 usage.")]
pub(super) struct MovesArgs {
    /// How many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

pub(super) async fn run(context: &Context, args: MovesArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let moves = recorded_moves(&mut control(&databases).await?, args.last)
        .await
        .map_err(Failure::failed)?;
    match context.format {
        Format::Json => context.print_json(&moves.iter().map(as_json).collect())?,
        Format::Ndjson => moves.iter().try_for_each(|it| context.print_json(&as_json(it)))?,
        Format::Table | Format::Csv => context.print_table(&table(&moves))?,
    }
    Ok(Exit::Done)
}

pub(super) fn table(moves: &[Move]) -> Table {
    let mut table = Table::new(["move", "slot", "from", "to", "state", "events", "pause ms", "reason"]);
    for it in moves {
        table.row([
            it.id.0.to_string(),
            it.slot.to_string(),
            it.source.to_string(),
            it.target.to_string(),
            it.state.as_str().to_owned(),
            it.events.map(|events| events.to_string()).unwrap_or_default(),
            it.pause_ms.map(|ms| format!("{ms:.1}")).unwrap_or_default(),
            it.reason.clone().unwrap_or_default(),
        ]);
    }
    table
}

pub(crate) fn as_json(it: &Move) -> Value {
    json!({
        "move": it.id.0, "slot": it.slot.0, "from": it.source.0, "to": it.target.0, "state": it.state.as_str(),
        "events": it.events, "pause_ms": it.pause_ms, "reason": it.reason,
    })
}
