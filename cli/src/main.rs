//! The `comanda` binary: one file per verb, in `verbs`.

mod args;
mod context;
mod databases;
mod exit;
mod output;
mod platform;
mod private_file;
mod rest;
mod run_file;
mod signing;
mod terminal;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::exit::{Exit, Failure};

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
    match cli.verb {
        Verb::Up(args) => verbs::up::run(&context, args).await,
        Verb::Migrate(args) => verbs::migrate::run(&context, args).await,
        Verb::Token(args) => verbs::token::run(&context, args),
        Verb::Import(args) => verbs::import::run(&context, *args).await,
        Verb::Orders(args) => verbs::orders::run(&context, args).await,
    }
}
