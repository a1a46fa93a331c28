//! `comanda shards plan`: moves that even out load.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use event_store::{Move, ProposedMove, ShardId, Slot, SlotLoad, propose_moves, shard_loads};
use serde_json::{Value, json};

use super::moving::{Direction, HowArgs, carry_out};
use super::slots::written;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::platform;

/// Propose moves of slots that even out the shards' load, or make them
///
/// A slot's load is its share of the stored events (45 %), of the events that were appended of late (45 %)
/// and of the slots (10 %). From the heaviest to the lightest shard goes the slot that comes nearest to
/// half of their difference, until they differ by less than a twentieth.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards plan
  comanda shards plan -o json
  comanda shards plan --shards 16 --apply --parallel 4

Exit codes: 0 done, also where there is nothing to move; 1 a shard cannot be read, or a move cannot
go on; 2 usage; 3 some moves were undone; 130 interrupted, `comanda shards move --resume` goes on.")]
pub(super) struct PlanArgs {
    /// Use only so many shards, those with the lowest ids; the others are emptied [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    shards: Option<u16>,
    /// Make the moves
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    how: HowArgs,
}

pub(super) async fn run(context: &Context, args: PlanArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let mut among: Vec<ShardId> = databases.shard_options().iter().map(|shard| shard.id).collect();
    among.sort_unstable();
    if let Some(wanted) = args.shards {
        if usize::from(wanted) > among.len() {
            let problem = format!("there are {} shards, not {wanted}", among.len());
            return Err(Failure::usage(problem).with_remedy("add some with `comanda shards add`"));
        }
        among.truncate(usize::from(wanted));
    }
    let mover = args.how.mover(&databases)?;
    let loads = mover.loads().await.map_err(Failure::failed)?;
    let proposed = propose_moves(&loads, &among);
    if !args.apply {
        print(context, &among, &loads, &proposed)?;
        return Ok(Exit::Done);
    }
    if !mover.unfinished().await.map_err(Failure::failed)?.is_empty() {
        return Err(Failure::failed("moves are under way already").with_remedy(
            "finish them with `comanda shards move --resume`, or take them back with `comanda shards move --undo`",
        ));
    }
    let mut moves: Vec<Move> = Vec::new();
    for ((_, target), slots) in by_way(&proposed) {
        let slots: Vec<Slot> = slots.into_iter().collect();
        moves.extend(mover.plan(&slots, target).await.map_err(Failure::failed)?.moves);
    }
    // Neighbours in time go to different shards.
    moves.sort_by_key(|it| it.slot);
    carry_out(context, &mover, moves, &args.how, Direction::On).await
}

/// The slots that go from one shard to another.
fn by_way(proposed: &[ProposedMove]) -> BTreeMap<(ShardId, ShardId), BTreeSet<Slot>> {
    let mut ways: BTreeMap<_, BTreeSet<Slot>> = BTreeMap::new();
    for it in proposed {
        ways.entry((it.source, it.target)).or_default().insert(it.slot);
    }
    ways
}

fn commands(proposed: &[ProposedMove]) -> Vec<String> {
    let mut targets: BTreeMap<ShardId, BTreeSet<Slot>> = BTreeMap::new();
    for it in proposed {
        targets.entry(it.target).or_default().insert(it.slot);
    }
    let command = |(target, slots): (&ShardId, &BTreeSet<Slot>)| {
        format!("comanda shards move --slots {} --to {target}", written(slots))
    };
    targets.iter().map(command).collect()
}

fn print(context: &Context, among: &[ShardId], loads: &[SlotLoad], proposed: &[ProposedMove]) -> Result<(), Failure> {
    let target = |load: &SlotLoad| proposed.iter().find(|it| it.slot == load.slot).map(|it| it.target);
    let after: Vec<SlotLoad> = loads
        .iter()
        .map(|load| SlotLoad {
            shard: target(load).unwrap_or(load.shard),
            ..*load
        })
        .collect();
    let (before, then) = (shard_loads(loads, among), shard_loads(&after, among));
    let slots = |loads: &[SlotLoad], shard: ShardId| loads.iter().filter(|load| load.shard == shard).count();
    let rows = before.iter().map(|(shard, load)| {
        let then = then.get(shard).copied().unwrap_or_default();
        (*shard, slots(loads, *shard), slots(&after, *shard), *load, then)
    });
    if matches!(context.format, Format::Json | Format::Ndjson) {
        let shards: Vec<Value> = rows
            .map(|(shard, slots, slots_after, load, load_after)| {
                json!({"shard": shard.0, "slots": slots, "slots_after": slots_after, "load": load, "load_after": load_after})
            })
            .collect();
        let moves: Vec<Value> = proposed
            .iter()
            .map(|it| json!({"slot": it.slot.0, "from": it.source.0, "to": it.target.0}))
            .collect();
        return context.print_json(&json!({"shards": shards, "moves": moves, "commands": commands(proposed)}));
    }
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let mut table = Table::new(["shard", "slots", "slots after", "load", "load after"]);
    for (shard, slots, slots_after, load, load_after) in rows {
        table.row([
            shard.to_string(),
            slots.to_string(),
            slots_after.to_string(),
            percent(load),
            percent(load_after),
        ]);
    }
    context.print_table(&table)?;
    if proposed.is_empty() {
        eprintln!("the shards are even: nothing to move");
    }
    for command in commands(proposed) {
        eprintln!("{command}");
    }
    Ok(())
}
