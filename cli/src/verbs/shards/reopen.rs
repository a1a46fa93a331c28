//! `comanda shards promote|restored`.

use clap::Args;
use event_store::{PositionToken, Reopen, Reopened, ShardId, ShardOptions, Unreachable};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::{PATIENCE, control};
use crate::context::Context;
use crate::databases::Databases;
use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::overview::ranges;
use crate::platform;

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
pub(super) struct ReopenArgs {
    /// The shard's id
    #[arg(long, value_name = "ID")]
    shard: i16,
    /// Go on though another shard cannot be compared with; if it owns a slot too, two logs will grow
    #[arg(long)]
    accept_unreachable: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    Promoted,
    Restored,
}

pub(super) async fn run(context: &Context, args: ReopenArgs, why: Why) -> Result<Exit, Failure> {
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
