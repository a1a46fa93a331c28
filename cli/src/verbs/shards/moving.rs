//! `comanda shards move`: slots go to another shard while orders flow.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use domain::TenantId;
use event_store::{Move, MoveEnd, MoveFault, MoveOptions, MoveState, Mover, ShardId, Slot};
use futures::StreamExt;
use futures::stream;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::moves::{as_json, table};
use super::slots::SlotSet;
use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::platform;
use crate::terminal;

/// Move slots to another shard while they take orders
///
/// Slot by slot: its events are copied while it takes more; then it is shut, the rest is copied, both
/// sides are compared, the relays of the shard that it leaves publish what is theirs, and it is opened at
/// the other shard. Meanwhile writes of its tenants are refused (503 with Retry-After) and succeed when
/// they are sent again. Where that would take longer than --max-pause-ms the move is undone. A command that
/// was killed leaves one owner at most, and --resume or --undo goes on from where it stood.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards move --slots 0-127 --to 5
  comanda shards move --tenant trattoria --to 5 -o json
  comanda shards move --resume
  comanda shards move --undo --slots 17

Exit codes: 0 done; 1 it cannot go on, stderr says why; 2 usage; 3 some moves were undone; 130
interrupted, --resume goes on.")]
pub(super) struct MoveArgs {
    /// The slots: 17, 0-127, 0-1020/4 (every fourth), with commas between
    #[arg(long, value_name = "SLOTS", conflicts_with = "tenant")]
    slots: Option<SlotSet>,
    /// The slot of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// The shard they go to
    #[arg(long, value_name = "ID", required_unless_present_any = ["resume", "undo"])]
    to: Option<i16>,
    /// Finish what was begun
    #[arg(long, conflicts_with_all = ["undo", "to"])]
    resume: bool,
    /// Take back what was begun and not yet decided
    #[arg(long, conflicts_with = "to")]
    undo: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// How slots are moved, by whichever verb.
#[derive(Debug, Clone, Args)]
pub(super) struct HowArgs {
    /// The longest that a slot may take no writes
    #[arg(long, default_value_t = 2_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=600_000))]
    max_pause_ms: u64,
    /// How long to wait for a relay that is behind, before anything is shut
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    relay_patience: u64,
    /// A topic that is published no more, whose relays are not waited for
    #[arg(long, value_name = "TOPIC")]
    abandoned_topic: Vec<String>,
    /// Slots moved at the same time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    parallel: u16,
    /// Say each step on stderr
    #[arg(short, long)]
    verbose: bool,
}

impl HowArgs {
    pub(super) fn mover(&self, databases: &Databases) -> Result<Mover, Failure> {
        let options = MoveOptions {
            max_pause: Duration::from_millis(self.max_pause_ms),
            relay_patience: Duration::from_secs(self.relay_patience),
            abandoned_topics: self.abandoned_topic.clone(),
            fault: MoveFault::from_environment(),
        };
        let mover = Mover::new(databases.control(), &databases.shard_options(), options).map_err(Failure::failed)?;
        if !self.verbose {
            return Ok(mover);
        }
        Ok(mover.observed_by(|moving, step| eprintln!("slot {}: {}", moving.slot, step.as_str())))
    }
}

pub(super) async fn run(context: &Context, args: MoveArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let mover = args.how.mover(&databases)?;
    let asked: Option<BTreeSet<Slot>> = match (args.slots, &args.tenant) {
        (Some(slots), _) => Some(slots.0),
        (None, Some(tenant)) => Some(BTreeSet::from([Slot::of(tenant)])),
        (None, None) => None,
    };
    let moves = match (args.to, asked) {
        (Some(target), Some(slots)) => {
            let slots: Vec<Slot> = slots.into_iter().collect();
            let planned = mover.plan(&slots, ShardId(target)).await.map_err(Failure::failed)?;
            if !planned.there.is_empty() {
                eprintln!("{} of the slots are there already", planned.there.len());
            }
            planned.moves
        }
        (Some(_), None) => return Err(Failure::usage("which slots? name them with --slots or --tenant")),
        (None, asked) => {
            let mut unfinished = mover.unfinished().await.map_err(Failure::failed)?;
            unfinished.retain(|it| asked.as_ref().is_none_or(|asked| asked.contains(&it.slot)));
            unfinished
        }
    };
    let verb = if args.undo { Direction::Back } else { Direction::On };
    carry_out(context, &mover, moves, &args.how, verb).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    On,
    Back,
}

/// Does what was planned, and prints it. The first that cannot go on ends it; those that were begun are
/// waited for, and the others stay planned.
pub(super) async fn carry_out(
    context: &Context,
    mover: &Mover,
    moves: Vec<Move>,
    how: &HowArgs,
    direction: Direction,
) -> Result<Exit, Failure> {
    let (stop, bar) = (CancellationToken::new(), progress_bar(moves.len()));
    let (interrupted, asked_to_stop) = (stop.clone(), CancellationToken::new());
    let asked = asked_to_stop.clone();
    let listening = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.cancel();
            interrupted.cancel();
        }
    });
    let mut ends = stream::iter(moves)
        .map(|moving| one(mover, moving, &stop, direction))
        .buffered(usize::from(how.parallel));
    let (mut ended, mut failure) = (Vec::new(), None);
    while let Some(end) = ends.next().await {
        bar.inc(1);
        match end {
            Ok(Some(end)) => ended.push(end.as_move().clone()),
            Ok(None) => {}
            Err(error) => {
                stop.cancel();
                failure = failure.or(Some(error));
            }
        }
    }
    drop(ends);
    listening.abort();
    bar.finish_and_clear();
    print(context, &ended)?;
    let unfinished = "go on with `comanda shards move --resume`, or take it back with `comanda shards move --undo`";
    if let Some(error) = failure {
        return Err(Failure::failed(error).with_remedy(unfinished));
    }
    if asked_to_stop.is_cancelled() {
        eprintln!("interrupted: {unfinished}");
        return Ok(Exit::Interrupted);
    }
    let undone = ended.iter().any(|it| it.state == MoveState::Undone);
    Ok(if undone && direction == Direction::On {
        Exit::Partly
    } else {
        Exit::Done
    })
}

/// `None` where it was not begun, because everything stops.
async fn one(
    mover: &Mover,
    moving: Move,
    stop: &CancellationToken,
    direction: Direction,
) -> Result<Option<MoveEnd>, event_store::Error> {
    if stop.is_cancelled() {
        return Ok(None);
    }
    let end = match direction {
        Direction::On => mover.run(&moving, stop).await?,
        Direction::Back => mover.undo(&moving).await?,
    };
    Ok(Some(end))
}

fn progress_bar(moves: usize) -> ProgressBar {
    let total = u64::try_from(moves).unwrap_or(u64::MAX);
    if !terminal::stderr_is_rich() || moves < 2 {
        return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} slots, {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn print(context: &Context, ended: &[Move]) -> Result<(), Failure> {
    let mut pauses: Vec<f64> = ended.iter().filter_map(|it| it.pause_ms).collect();
    pauses.sort_by(f64::total_cmp);
    match context.format {
        Format::Json => context.print_json(&json!({
            "moves": ended.iter().map(as_json).collect::<Vec<Value>>(),
            "moved": count(ended, MoveState::Done),
            "undone": count(ended, MoveState::Undone),
            "pause_p50_ms": quantile(&pauses, 50),
            "pause_p99_ms": quantile(&pauses, 99),
            "pause_max_ms": pauses.last(),
        })),
        Format::Ndjson => ended.iter().try_for_each(|it| context.print_json(&as_json(it))),
        Format::Table | Format::Csv => {
            context.print_table(&table(ended))?;
            if let (Some(p50), Some(p99), Some(most)) = (quantile(&pauses, 50), quantile(&pauses, 99), pauses.last()) {
                eprintln!(
                    "{} moved; pause of writers: median {p50:.1} ms, p99 {p99:.1} ms, longest {most:.1} ms",
                    count(ended, MoveState::Done)
                );
            }
            Ok(())
        }
    }
}

fn count(moves: &[Move], state: MoveState) -> usize {
    moves.iter().filter(|it| it.state == state).count()
}

/// Of sorted values, the one that so many per cent are not above.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantile(&values, 50), Some(100.0));
        assert_eq!(quantile(&values, 99), Some(198.0));
        assert_eq!(quantile(&[3.0], 99), Some(3.0));
        assert_eq!(quantile(&[], 50), None);
    }
}
