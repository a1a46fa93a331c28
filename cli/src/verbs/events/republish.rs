//! `comanda events republish`.

use clap::Args;
use event_store::{Position, ShardId};
use sqlx::{Connection, PgConnection};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::platform;

/// Have the log published to Kafka again, from its beginning
///
/// For a topic that was deleted and made again, or brokers that lost records, where readers other
/// than Comanda's projectors want the older events in the topic too. (Projectors need none of this:
/// they fetch from the shards what Kafka lost.) Readers see every event again and drop what they have
/// by `ce_slotposition`. Relays go on from there at once; orders are taken meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  comanda events republish --config cluster.toml
  comanda events republish --shard 2 --config cluster.toml

Exit codes: 0 done, relays publish again; 1 a shard cannot be reached; 2 usage.")]
pub(super) struct RepublishArgs {
    /// Only this shard's events; repeat for more [default: all shards']
    #[arg(long = "shard", value_name = "ID")]
    shards: Vec<i16>,
}

pub(super) async fn run(context: &Context, args: RepublishArgs) -> Result<Exit, Failure> {
    let (settings, databases) = platform::databases(context).await?;
    let topic = &settings.kafka.topic.name;
    let unknown = |id: &&i16| !databases.shards().iter().any(|(shard, _)| shard == *id);
    if let Some(id) = args.shards.iter().find(unknown) {
        return Err(Failure::usage(format!("there is no shard {id}")));
    }
    let mut table = Table::new(["shard", "events to publish"]).with_numbers(["shard", "events to publish"]);
    for (id, url) in databases.shards() {
        if !args.shards.is_empty() && !args.shards.contains(id) {
            continue;
        }
        let failed = |error: sqlx::Error| Failure::failed(format!("shard {}: {error}", ShardId(*id)));
        let mut shard = PgConnection::connect(url).await.map_err(failed)?;
        relay::rewind(&mut shard, topic, Position(0)).await.map_err(failed)?;
        let published = relay::published(&mut shard, topic).await.map_err(failed)?;
        shard.close().await.map_err(failed)?;
        let events = published.map_or_else(
            || "no relay ever published it".to_owned(),
            |published| published.head.0.to_string(),
        );
        table.row([id.to_string(), events]);
    }
    context.print_table(&table)?;
    Ok(Exit::Done)
}
