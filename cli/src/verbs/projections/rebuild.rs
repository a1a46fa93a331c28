//! `comanda projections rebuild|build`: filling generations from the log.

use clap::{Args, ValueEnum};
use domain::Timestamp;
use event_store::{Cursor, EventStore};
use projector::rebuild::{self, Options, Rebuilt, SwitchWhen};
use projector::{Error, Registered};
use serde_json::{Value, json};

use super::list::connect;
use super::progress::Shown;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::read_store::ReadStoreArg;
use crate::registry::name_of_this_process;

/// When queries are sent to the new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// once it is verified
    Auto,
    /// when `comanda projections switch` says so
    Manual,
}

/// What an interrupted rebuild's work is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    /// goes on with it
    Checkpoints,
    /// gives it up
    Scratch,
}

/// Rebuild read models beside what is served, verify them, and switch
///
/// Fills a new generation straight from the shards while queries read the old one and projectors feed it;
/// once close to the log's heads projectors feed both. It is then held against the log, row by row, and
/// against the served generation, by the hashes of each tenant's rows, and switched to by one update of a
/// pointer. The old one is kept and fed, so that `rollback` works at once, until `drop` frees it. Killed or interrupted, the
/// same command goes on where it was. Also the way to deploy a read model whose code has changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections rebuild orders
  comanda projections rebuild --all --workers 6
  comanda projections rebuild orders daily_sales --switch manual
  comanda projections rebuild --all -o ndjson --config cluster.toml --read-store main

Exit codes: 0 rebuilt, and switched where that was asked; 1 it cannot go on, or another one is at
it; 2 usage; 3 filled, but not what the log says, or not what is served: nothing was switched,
look at `comanda projections verify`, then `switch NAME --to N` or `drop`; 130 interrupted: run it
again.")]
pub(super) struct RebuildArgs {
    /// The read models
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Every read model
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Checkpoints, value_name = "WHERE")]
    from: From,
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "WHEN", help = "When to switch")]
    switch: Switch,
    /// Slots filled at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=6))]
    workers: u8,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

/// Build read models as of a position or a time, beside what is served
///
/// The generation holds what the log held then, and nothing feeds it. GraphQL reads it where a request
/// names it in the header `Comanda-Generation: orders=7`. `drop` frees it. A position is a cursor, one
/// position for each slot; there is no order of events across slots. A time means, in each slot, the last
/// event recorded by then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda projections build orders --as-of 2026-03-01T12:00:00Z
  comanda projections build orders daily_sales --as-of 17.1.250,903.1.14

Exit codes: 0 built, stdout names the generations; 1 it cannot go on, or the log does not have the
position; 2 usage; 130 interrupted: run it again.")]
pub(super) struct BuildArgs {
    /// The read models
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// A cursor, or an RFC 3339 time
    #[arg(long, value_name = "POSITION|TIME")]
    as_of: AsOf,
    /// Slots filled at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=6))]
    workers: u8,
    #[command(flatten)]
    read_store: ReadStoreArg,
}

#[derive(Debug, Clone)]
enum AsOf {
    Position(Cursor),
    Time(Timestamp),
}

impl std::str::FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        match text.parse() {
            Ok(cursor) if !text.is_empty() => Ok(Self::Position(cursor)),
            _ => Err("neither a cursor such as 17.1.250,903.1.14 nor a time such as 2026-03-01T12:00:00Z".to_owned()),
        }
    }
}

impl AsOf {
    async fn cursor(self, store: &EventStore) -> Result<Cursor, Failure> {
        match self {
            Self::Position(cursor) => Ok(cursor),
            Self::Time(time) => rebuild::cursor_at(store, time).await.map_err(Failure::failed),
        }
    }
}

fn named(names: &[String]) -> Result<Vec<Registered>, Failure> {
    rebuild::named(names).map_err(Failure::usage)
}

/// What stderr says of a failure that a person can do something about.
pub(super) fn failure(error: Error) -> Failure {
    let remedy = match &error {
        Error::RebuildRunning { .. } => Some("`comanda projections list` shows how far it is"),
        Error::Database(_) | Error::Log(_) | Error::TimedOut { .. } | Error::ShardTimedOut(_) => {
            Some("once the database answers, run the same command again: what was filled is kept")
        }
        _ => None,
    };
    match remedy {
        Some(remedy) => Failure::failed(error).with_remedy(remedy),
        None => Failure::failed(error),
    }
}

pub(super) async fn rebuild(context: &Context, args: RebuildArgs) -> Result<Exit, Failure> {
    let models = named(&args.names)?;
    let (store, pool) = connect(context, &args.read_store).await?;
    let options = Options {
        workers: usize::from(args.workers),
        switch: match args.switch {
            Switch::Auto => SwitchWhen::Verified,
            Switch::Manual => SwitchWhen::Asked,
        },
        from_scratch: args.from == From::Scratch,
        holder: name_of_this_process(),
        ..Options::default()
    };
    let shown = Shown::new(context);
    let observe = |status: &rebuild::Status| shown.show(status);
    let rebuilt = tokio::select! {
        rebuilt = rebuild::rebuild(&store, &pool, &models, &options, &observe) => rebuilt,
        _ = tokio::signal::ctrl_c() => return Ok(interrupted(&shown)),
    };
    shown.finish();
    let rebuilt = rebuilt.map_err(failure)?;
    print(context, &rebuilt)?;
    let right = rebuilt.iter().all(|it| it.checked.is_right());
    Ok(if right { Exit::Done } else { Exit::Partly })
}

fn interrupted(shown: &Shown<'_>) -> Exit {
    shown.finish();
    eprintln!("interrupted; what was filled is kept: run the same command again to go on with it");
    Exit::Interrupted
}

fn outcome(rebuilt: &Rebuilt) -> &'static str {
    match (&rebuilt.switched, rebuilt.checked.is_right()) {
        (Some(_), _) => "switched",
        (None, true) => "ready",
        (None, false) => "differs",
    }
}

fn print(context: &Context, rebuilt: &[Rebuilt]) -> Result<(), Failure> {
    for it in rebuilt {
        explain(it);
    }
    match context.format {
        Format::Json => context.print_json(&Value::Array(rebuilt.iter().map(as_json).collect())),
        Format::Ndjson => rebuilt.iter().try_for_each(|it| context.print_json(&as_json(it))),
        Format::Table | Format::Csv => {
            let mut table = Table::new([
                "read_model",
                "generation",
                "outcome",
                "rows_verified",
                "tenants_compared",
                "fingerprint",
            ]);
            for it in rebuilt {
                table.row([
                    it.read_model.to_owned(),
                    it.generation.to_string(),
                    outcome(it).to_owned(),
                    it.checked.rows.to_string(),
                    it.checked.compared_tenants.to_string(),
                    it.checked.fingerprint.clone().unwrap_or_default(),
                ]);
            }
            context.print_table(&table)
        }
    }
}

/// What a person has to look at.
fn explain(rebuilt: &Rebuilt) {
    let Rebuilt {
        read_model,
        generation,
        checked,
        switched,
    } = rebuilt;
    for difference in checked.differences.iter().take(10) {
        eprintln!("{read_model}: {difference}");
    }
    for differing in checked.differing.iter().take(10) {
        let (tenant, table) = (&differing.tenant, &differing.table);
        eprintln!("{read_model}: {table} of {tenant} is not what the served generation has");
    }
    if !checked.is_right() {
        eprintln!(
            "{read_model} was not switched. See which one is right with `comanda projections verify {read_model}`, \
             then `comanda projections switch {read_model} --to {generation}`, or drop it"
        );
    }
    if switched.as_ref().is_some_and(|switched| !switched.can_roll_back) {
        eprintln!("{read_model}: the generation before is of a history that the log has lost; it is kept, not fed");
    }
}

fn as_json(rebuilt: &Rebuilt) -> Value {
    let checked = &rebuilt.checked;
    let differing = checked.differing.iter();
    let differing = differing.map(|it| json!({"tenant": it.tenant, "table": it.table}));
    json!({
        "type": "result", "read_model": rebuilt.read_model, "generation": rebuilt.generation,
        "outcome": outcome(rebuilt), "rows_verified": checked.rows, "differing_rows": checked.differing_rows,
        "differences": checked.differences, "tenants_compared": checked.compared_tenants,
        "fingerprint": checked.fingerprint, "differing": differing.collect::<Vec<_>>(),
        "previous": rebuilt.switched.as_ref().and_then(|switched| switched.from),
        "can_roll_back": rebuilt.switched.as_ref().map(|switched| switched.can_roll_back),
    })
}

pub(super) async fn build(context: &Context, args: BuildArgs) -> Result<Exit, Failure> {
    let models = named(&args.names)?;
    let (store, pool) = connect(context, &args.read_store).await?;
    let as_of = args.as_of.cursor(&store).await?;
    let options = Options {
        workers: usize::from(args.workers),
        holder: name_of_this_process(),
        ..Options::default()
    };
    let shown = Shown::new(context);
    let observe = |status: &rebuild::Status| shown.show(status);
    let built = tokio::select! {
        built = rebuild::build(&store, &pool, &models, &as_of, &options, &observe) => built,
        _ = tokio::signal::ctrl_c() => return Ok(interrupted(&shown)),
    };
    shown.finish();
    let mut table = Table::new(["read_model", "generation"]).with_numbers(["generation"]);
    for (read_model, generation) in built.map_err(failure)? {
        table.row([read_model.to_owned(), generation.to_string()]);
    }
    context.print_table(&table)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_position_or_a_time_then_each_is_told_from_the_other() {
        let parsed = |text: &str| text.parse::<AsOf>();
        assert!(matches!(parsed("2026-03-01T12:00:00Z"), Ok(AsOf::Time(_))));
        assert!(matches!(parsed("17.1.250,903.1.14"), Ok(AsOf::Position(_))));
        for neither in ["", "yesterday", "17.1"] {
            assert!(parsed(neither).is_err(), "{neither}");
        }
    }
}
