//! `comanda shards`: looking at shards, and opening those that were promoted or restored.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use event_store::{PositionToken, Reopen, Reopened, ShardId, ShardOptions, Unreachable, UrlKept};
use migrations::Database;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::context::Context;
use crate::databases::{Databases, Target};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Table};
use crate::overview::{Overview, ranges};
use crate::platform;

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Look at shards, add some, and open those that were promoted or restored
#[derive(Debug, Args)]
pub(crate) struct ShardsArgs {
    #[command(subcommand)]
    verb: ShardsVerb,
}

#[derive(Debug, Subcommand)]
enum ShardsVerb {
    List(ListArgs),
    Add(AddArgs),
    #[command(alias = "promoted")]
    Promote(ReopenArgs),
    Restored(ReopenArgs),
}

/// List the shards with their slots
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards list
  comanda shards list --config cluster.toml -o csv

Exit codes: 0 done; 1 there is no platform to look at; 2 usage.")]
struct ListArgs {}

/// Add a shard to a platform that may be running
///
/// Migrates its database and registers it in the control database; running processes learn it within
/// event_store.placement_poll_ms. It owns no slots until some are moved to it. A URL that is given here
/// is kept in the control database, password and all; else the settings must name the shard.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards add --shard 4 --url-file /run/secrets/shard-4-url --config cluster.toml
  comanda shards add --shard 4 --config cluster-with-shard-4.toml

Exit codes: 0 done, also where it was there; 1 it cannot be added, stderr says why; 2 usage.")]
struct AddArgs {
    /// The shard's id
    #[arg(long, value_name = "ID")]
    shard: i16,
    /// A file that holds its URL [default: the settings' event_store.shards]
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

/// Open a shard again after its standby was promoted or its backup restored
///
/// Such a shard refuses appends (503) until this was done: it may lack events that were
/// acknowledged. Every slot is compared with the other shards', where the highest ownership wins, and
/// gets a new incarnation, so that readers who are ahead of the log stop and say so. Events that read
/// stores have and the log has not are listed as lost. First make sure that the old primary is off.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda shards promote --shard 2 --config cluster.toml
  comanda shards restored --shard 2 --config cluster.toml -o json

Exit codes: 0 open again; 1 it cannot be opened, stderr says why; 2 usage; 3 open again, but events
that read stores had seen are lost.")]
struct ReopenArgs {
    /// The shard's id
    #[arg(long, value_name = "ID")]
    shard: i16,
    /// Go on though another shard cannot be compared with; if it owns a slot too, two logs will grow
    #[arg(long)]
    accept_unreachable: bool,
}

pub(crate) async fn run(context: &Context, args: ShardsArgs) -> Result<Exit, Failure> {
    match args.verb {
        ShardsVerb::List(ListArgs {}) => list(context).await,
        ShardsVerb::Add(args) => add(context, args).await,
        ShardsVerb::Promote(args) => reopen(context, args, Why::Promoted).await,
        ShardsVerb::Restored(args) => reopen(context, args, Why::Restored).await,
    }
}

async fn add(context: &Context, args: AddArgs) -> Result<Exit, Failure> {
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
    context.print_pairs(&[("shard", args.shard.to_string()), ("state", "registered".to_owned())])?;
    Ok(Exit::Done)
}

async fn control(databases: &Databases) -> Result<PgConnection, Failure> {
    let unreachable = |why: String| Failure::failed(format!("cannot connect to the control database: {why}"));
    match timeout(PATIENCE, PgConnection::connect(databases.control())).await {
        Ok(connected) => connected.map_err(|error| unreachable(error.to_string())),
        Err(_) => Err(unreachable("it does not answer".to_owned())),
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (settings, databases) = platform::databases(context).await?;
    let overview = Overview::look(&settings, &databases).await;
    let mut table = Table::new(["shard", "state", "slots", "events", "incarnation", "standbys"]);
    for shard in overview.shards {
        table.row([
            shard.shard.to_string(),
            shard.problem.unwrap_or(shard.state),
            shard.slots,
            shard.events.to_string(),
            shard.incarnation.to_string(),
            shard.standbys.to_string(),
        ]);
    }
    context.print_table(&table)?;
    Ok(Exit::Done)
}

#[derive(Debug, Clone, Copy)]
enum Why {
    Promoted,
    Restored,
}

async fn reopen(context: &Context, args: ReopenArgs, why: Why) -> Result<Exit, Failure> {
    let (_, databases) = platform::databases(context).await?;
    let shards: Vec<ShardOptions> = databases.shard_options();
    let known = checkpoints(&databases).await;
    let mut control = control(&databases).await?;
    let asked = Reopen {
        shard: ShardId(args.shard),
        shards: &shards,
        unreachable: if args.accept_unreachable {
            Unreachable::Accept
        } else {
            Unreachable::Refuse
        },
        known: &known,
    };
    let reopened = match why {
        Why::Promoted => event_store::promote(&mut control, &asked).await,
        Why::Restored => event_store::restored(&mut control, &asked).await,
    };
    let reopened = reopened.map_err(Failure::failed)?;
    print(context, &reopened)?;
    Ok(if reopened.lost.is_empty() {
        Exit::Done
    } else {
        Exit::Partly
    })
}

/// How far the read stores have seen each slot. One that does not answer only knows less.
async fn checkpoints(databases: &Databases) -> Vec<PositionToken> {
    let mut known = Vec::new();
    for store in databases.read_stores() {
        let read = async {
            let mut connection = PgConnection::connect(store.url.expose()).await?;
            sqlx::query_as::<_, (i32, i32, i64)>(
                "SELECT slot, incarnation, max(slot_position) FROM meta.checkpoints \
                  WHERE slot_position > 0 GROUP BY slot, incarnation",
            )
            .fetch_all(&mut connection)
            .await
        };
        match timeout(PATIENCE, read).await {
            Ok(Ok(rows)) => known.extend(rows.into_iter().filter_map(|(slot, incarnation, position)| {
                Some(PositionToken {
                    slot: event_store::Slot(u16::try_from(slot).ok()?),
                    incarnation: event_store::Incarnation(incarnation),
                    slot_position: event_store::SlotPosition(position),
                })
            })),
            Ok(Err(error)) => unheard(&store.name, &error.to_string()),
            Err(_) => unheard(&store.name, "no answer in time"),
        }
    }
    known
}

fn unheard(read_store: &str, why: &str) {
    eprintln!("note: read store {read_store} does not answer ({why}); what it has seen is not compared");
}

fn print(context: &Context, reopened: &Reopened) -> Result<(), Failure> {
    let owned = ranges(reopened.slots.iter().filter(|slot| slot.owned).map(|slot| slot.slot.0));
    let given_up = ranges(
        reopened
            .slots
            .iter()
            .filter(|slot| slot.owned_before && !slot.owned)
            .map(|slot| slot.slot.0),
    );
    if matches!(context.format, Format::Json | Format::Ndjson) {
        let lost: Vec<Value> = reopened
            .lost
            .iter()
            .map(|ahead| json!({"seen": ahead.known.to_string(), "kept": ahead.agreed.0, "lost": ahead.lost()}))
            .collect();
        let ownerless: Vec<u16> = reopened.ownerless.iter().map(|slot| slot.0).collect();
        let value = json!({
            "shard": reopened.shard.0, "owned": owned, "given_up": given_up, "lost": lost, "ownerless": ownerless,
        });
        return context.print_json(&value);
    }
    let incarnation = reopened.slots.iter().map(|slot| slot.now.0).max().unwrap_or_default();
    context.print_pairs(&[
        ("shard", reopened.shard.to_string()),
        ("incarnation", incarnation.to_string()),
        ("slots owned", owned),
        ("slots given up", given_up),
        (
            "slots without owner",
            ranges(reopened.ownerless.iter().map(|slot| slot.0)),
        ),
        ("slots with lost events", reopened.lost.len().to_string()),
    ])?;
    for ahead in &reopened.lost {
        let (slot, lost, kept) = (ahead.known.slot, ahead.lost(), ahead.agreed.0);
        eprintln!("lost: slot {slot}: {lost} events behind position {kept}");
    }
    Ok(())
}
