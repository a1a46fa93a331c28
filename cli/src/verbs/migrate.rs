//! `comanda migrate`: brings the databases to this binary's schemas.

use clap::Args;
use local_postgres::{Config, Server};
use migrations::SchemaError;

use crate::context::Context;
use crate::databases::{DatabaseError, Databases};
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::platform;
use crate::run_file::Found;

/// Bring every database to the schema that this binary needs
///
/// Also gives a fresh platform's slots to its shards, and every read model its first generation.
/// Works on the databases that the settings name, else on those of the local platform in the data
/// folder, running or not. `comanda up` does the same when it starts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda migrate
  comanda migrate --check -o json
  comanda migrate --config production.toml

Exit codes: 0 every schema is current; 1 a database cannot be reached or migrated, or, with --check,
is not current; 2 usage.")]
pub(crate) struct MigrateArgs {
    /// Change nothing; tell whether every schema is current
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(context: &Context, args: MigrateArgs) -> Result<Exit, Failure> {
    let settings = context.settings().load().map_err(Failure::usage)?;
    if let Some(databases) = Databases::configured(&settings)? {
        let databases = databases.with_registered().await;
        return work_on(context, &args, &databases).await;
    }
    let data = platform::data_folder(context);
    if let Found::Running(run) = platform::find_run_file(&data)? {
        return work_on(context, &args, &Databases::of_running(run.databases)).await;
    }
    let Some(data) = local_postgres::located_before(&context.folder) else {
        return Err(Failure::failed(format!(
            "there is nothing to migrate: no databases in {}",
            data.display()
        ))
        .with_remedy("`comanda up` creates them; or name the databases in the settings"));
    };
    // The server is ours for the moment it takes.
    let server = Server::start(Config::new(data)).await?;
    let databases = Databases::of_local(&server).await?;
    let outcome = work_on(context, &args, &databases).await;
    server.stop().await?;
    outcome
}

async fn work_on(context: &Context, args: &MigrateArgs, databases: &Databases) -> Result<Exit, Failure> {
    if args.check {
        check(context, databases).await
    } else {
        migrate(context, databases).await
    }
}

async fn migrate(context: &Context, databases: &Databases) -> Result<Exit, Failure> {
    let reports = databases.migrate().await.map_err(Failure::failed)?;
    databases.lay_out().await.map_err(Failure::failed)?;
    let mut table = Table::new(["database", "schema", "version", "applied"]).with_numbers(["version"]);
    for (target, report) in reports {
        let applied: Vec<String> = report.applied.iter().map(ToString::to_string).collect();
        let applied = if applied.is_empty() {
            "nothing to do".to_owned()
        } else {
            applied.join(" ")
        };
        table.row([
            target.name,
            target.kind.to_string(),
            report.version.to_string(),
            applied,
        ]);
    }
    context.print_table(&table)?;
    Ok(Exit::Done)
}

async fn check(context: &Context, databases: &Databases) -> Result<Exit, Failure> {
    let mut table = Table::new(["database", "schema", "version", "state"]).with_numbers(["version"]);
    let mut problems = Vec::new();
    for target in databases.targets() {
        let outcome = target.check().await;
        let (version, state) = state_of(target.kind.version(), &outcome);
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => problems.push(problem.to_string()),
            Err(problem) => problems.push(problem.to_string()),
        }
        table.row([target.name, target.kind.to_string(), version, state.to_owned()]);
    }
    context.print_table(&table)?;
    if problems.is_empty() {
        Ok(Exit::Done)
    } else {
        Err(Failure::failed(problems.join("\n")))
    }
}

fn state_of(known: i64, outcome: &Result<Result<(), SchemaError>, DatabaseError>) -> (String, &'static str) {
    match outcome {
        Ok(Ok(())) => (known.to_string(), "current"),
        Ok(Err(SchemaError::Older { found, .. })) => (found.to_string(), "older"),
        Ok(Err(SchemaError::Newer { found, .. })) => (found.to_string(), "newer"),
        Ok(Err(SchemaError::Changed { version, .. })) => (version.to_string(), "changed"),
        Ok(Err(SchemaError::Unreadable { .. })) => (String::new(), "unreadable"),
        Err(_) => (String::new(), "unreachable"),
    }
}
