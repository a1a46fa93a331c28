//! `comanda shards add`.

use std::path::PathBuf;

use clap::Args;
use event_store::{ShardId, ShardOptions, UrlKept};
use migrations::Database;
use serde_json::json;

use super::control;
use crate::context::Context;
use crate::databases::Target;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::platform;

/// Add a shard to a platform that may be running
///
/// Migrates its database and registers it in the control database; running processes learn it within
/// event_store.placement_poll_ms. It owns no slots until some are moved to it. A URL that is given here
/// is kept in the control database, password and all; else the settings must name the shard. Where `up`
/// archives its servers (backup.folder) and the shard is on another one, start `up` again, so that this one
/// is archived too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards add --shard 4 --url-file /run/secrets/shard-4-url --config cluster.toml
  comanda shards add --shard 4 --config cluster-with-shard-4.toml

Exit codes: 0 done, also where it was there; 1 it cannot be added, stderr says why; 2 usage.")]
pub(super) struct AddArgs {
    /// The shard's id
    #[arg(long, value_name = "ID")]
    shard: i16,
    /// A file that holds its URL [default: the settings' event_store.shards]
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, args: AddArgs) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let named = databases.shards().iter().find(|(id, _)| *id == args.shard);
    let (url, kept) = match (&args.url_file, named) {
        (Some(file), _) => {
            let unreadable = |error| Failure::usage(format!("cannot read {}: {error}", file.display()));
            let url = std::fs::read_to_string(file).map_err(unreadable)?;
            (url.trim().to_owned(), UrlKept::InControl)
        }
        (None, Some((_, url))) => (url.clone(), UrlKept::InSettings),
        (None, None) => {
            return Err(Failure::usage(format!("the settings do not name shard {}", args.shard))
                .with_remedy("name it in event_store.shards, or give its URL with --url-file FILE"));
        }
    };
    Target {
        name: format!("shard_{}", args.shard),
        kind: Database::EventStore,
        url: &url,
    }
    .migrate()
    .await
    .map_err(Failure::failed)?;
    let mut control = control(&databases).await?;
    let shard = ShardOptions {
        id: ShardId(args.shard),
        url,
    };
    event_store::register_shard(&mut control, &shard, kept)
        .await
        .map_err(Failure::failed)?;
    match context.format {
        Format::Json | Format::Ndjson => context.print_json(&json!({"shard": args.shard, "state": "registered"}))?,
        Format::Table | Format::Csv => {
            context.print_pairs(&[("shard", args.shard.to_string()), ("state", "registered".to_owned())])?;
        }
    }
    Ok(Exit::Done)
}
