//! `comanda events`: the log as a stream.

mod cursor;
mod republish;
mod tail;
mod topic;

use clap::{Args, Subcommand};

use self::republish::RepublishArgs;
use self::tail::TailArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Read the log as a stream, and have it published again
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    verb: EventsVerb,
}

#[derive(Debug, Subcommand)]
enum EventsVerb {
    Tail(Box<TailArgs>),
    Republish(RepublishArgs),
}

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<Exit, Failure> {
    match args.verb {
        EventsVerb::Tail(args) => tail::run(context, *args).await,
        EventsVerb::Republish(args) => republish::run(context, args).await,
    }
}
