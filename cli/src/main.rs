//! The `comanda` binary: one file per verb, in `verbs`.

mod archiving;
mod args;
mod blockers;
mod context;
mod databases;
mod diagnosis;
mod exit;
mod ops;
mod output;
mod overview;
mod parts;
mod platform;
mod private_file;
mod process;
mod read_store;
mod registry;
mod rest;
mod run_file;
mod seed;
mod signing;
mod terminal;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::exit::{Exit, Failure};
use crate::verbs::roles::Role;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(error).report(),
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let context = cli.context();
    if context.parquet && !matches!(cli.verb, Verb::Events(_)) {
        return Err(Failure::usage("-o parquet is for `events export`"));
    }
    match cli.verb {
        Verb::Up(args) => verbs::up::run(&context, args).await,
        Verb::CommandApi(args) => verbs::roles::run(&context, Role::CommandApi, args).await,
        Verb::Relay(args) => verbs::roles::run(&context, Role::Relay, args).await,
        Verb::Projector(args) => verbs::roles::run(&context, Role::Projector, args).await,
        Verb::QueryApi(args) => verbs::roles::run(&context, Role::QueryApi, args).await,
        Verb::OpsApi(args) => verbs::roles::run(&context, Role::OpsApi, args).await,
        Verb::Migrate(args) => verbs::migrate::run(&context, args).await,
        Verb::Status(args) => verbs::status::run(&context, args).await,
        Verb::Doctor(args) => verbs::doctor::run(&context, args).await,
        Verb::Shards(args) => verbs::shards::run(&context, args).await,
        Verb::Events(args) => verbs::events::run(&context, args).await,
        Verb::Seed(args) => verbs::seed::run(&context, args).await,
        Verb::Token(args) => verbs::token::run(&context, args),
        Verb::Import(args) => verbs::import::run(&context, *args).await,
        Verb::Orders(args) => verbs::orders::run(&context, args).await,
        Verb::Projections(args) => verbs::projections::run(&context, args).await,
        Verb::Parked(args) => verbs::parked::run(&context, args).await,
        Verb::Backup(args) => verbs::backup::run(&context, args).await,
        Verb::Restore(args) => verbs::restore::run(&context, args).await,
        Verb::Sql(args) => verbs::sql::run(&context, args).await,
        Verb::Completions(args) => verbs::completions::run(&args),
    }
}
