//! `comanda projections`: the read models and their generations.

mod verify;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Look at read models, and verify them
#[derive(Debug, Args)]
pub(crate) struct ProjectionsArgs {
    #[command(subcommand)]
    verb: ProjectionsVerb,
}

#[derive(Debug, Subcommand)]
enum ProjectionsVerb {
    Verify(verify::VerifyArgs),
}

pub(crate) async fn run(context: &Context, args: ProjectionsArgs) -> Result<Exit, Failure> {
    match args.verb {
        ProjectionsVerb::Verify(args) => verify::run(context, args).await,
    }
}
