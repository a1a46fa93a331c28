//! `comanda projections`: the read models and their generations.

mod list;
mod progress;
mod rebuild;
mod switch;
mod verify;

pub(crate) use self::switch::longest_read;
pub(crate) use self::verify::summary as report_as_json;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Look at read models, rebuild, verify and switch them
#[derive(Debug, Args)]
pub(crate) struct ProjectionsArgs {
    #[command(subcommand)]
    verb: ProjectionsVerb,
}

#[derive(Debug, Subcommand)]
enum ProjectionsVerb {
    List(list::ListArgs),
    Lag(list::LagArgs),
    Rebuild(rebuild::RebuildArgs),
    Build(rebuild::BuildArgs),
    Verify(verify::VerifyArgs),
    Switch(switch::SwitchArgs),
    Rollback(switch::RollbackArgs),
    Drop(switch::DropArgs),
}

pub(crate) async fn run(context: &Context, args: ProjectionsArgs) -> Result<Exit, Failure> {
    match args.verb {
        ProjectionsVerb::List(args) => list::list(context, args).await,
        ProjectionsVerb::Lag(args) => list::lag(context, args).await,
        ProjectionsVerb::Rebuild(args) => rebuild::rebuild(context, args).await,
        ProjectionsVerb::Build(args) => rebuild::build(context, args).await,
        ProjectionsVerb::Switch(args) => switch::switch(context, args).await,
        ProjectionsVerb::Rollback(args) => switch::rollback(context, args).await,
        ProjectionsVerb::Drop(args) => switch::drop(context, args).await,
        ProjectionsVerb::Verify(args) => verify::run(context, args).await,
    }
}
