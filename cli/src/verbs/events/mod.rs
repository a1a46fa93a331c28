//! `comanda events`: the log as a stream, as files, and sent once more.

mod cursor;
mod export;
mod filter;
mod replay;
mod republish;
mod tail;
mod topic;

use clap::{Args, Subcommand};

use self::export::ExportArgs;
use self::replay::ReplayArgs;
use self::republish::RepublishArgs;
use self::tail::TailArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Read the log as a stream, export it to files, and send it once more
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    verb: EventsVerb,
}

#[derive(Debug, Subcommand)]
enum EventsVerb {
    Tail(Box<TailArgs>),
    Export(Box<ExportArgs>),
    Replay(Box<ReplayArgs>),
    Republish(RepublishArgs),
}

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<Exit, Failure> {
    if context.parquet && !matches!(args.verb, EventsVerb::Export(_)) {
        return Err(Failure::usage("-o parquet is for `events export`"));
    }
    match args.verb {
        EventsVerb::Tail(args) => tail::run(context, *args).await,
        EventsVerb::Export(args) => export::run(context, *args).await,
        EventsVerb::Replay(args) => replay::run(context, *args).await,
        EventsVerb::Republish(args) => republish::run(context, args).await,
    }
}
