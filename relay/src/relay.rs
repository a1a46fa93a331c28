//! All shards of a relay process.

use std::collections::BTreeSet;

use event_store::{EventStore, ShardId, ShardOptions};
use service::edge;
use service::settings::{KafkaSettings, RelaySettings};
use service::shutdown::Shutdown;
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::checker::Losses;
use crate::cursor::{Desk, Post};
use crate::error::Error;
use crate::kafka::Topic;
use crate::keeper::Keeper;
use crate::metric;
use crate::session::{Faults, Workplace};
use crate::settings::{Intervals, Settings};
use crate::status::{Board, ShardStatus};

/// Publishes the shards that fall to it among all relays of the same topic.
#[derive(Debug)]
pub struct Relay {
    store: EventStore,
    settings: Settings,
    topic: Topic,
    board: Board,
    faults: Faults,
}

impl Relay {
    /// Of the shards of `store`, in which each one's cursor and lease are kept. Nothing is asked of
    /// a database or of Kafka yet.
    ///
    /// # Errors
    /// [`Error::Settings`] or [`Error::File`].
    pub fn new(store: EventStore, kafka: &KafkaSettings, settings: RelaySettings) -> Result<Self, Error> {
        let topic = Topic::new(kafka)?;
        let settings = Settings {
            kafka: kafka.clone(),
            relay: settings,
        };
        Ok(Self {
            board: Board::new(&store.shards()),
            store,
            settings,
            topic,
            faults: Faults::default(),
        })
    }

    #[cfg(test)]
    pub(crate) fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// How each shard stands, at any time; to be taken before [`Relay::run`].
    pub fn status(&self) -> impl Fn() -> Vec<ShardStatus> + Send + Sync + use<> {
        let board = self.board.clone();
        move || board.read()
    }

    /// Publishes until the stop is asked for, also shards that are opened meanwhile; then waits for
    /// what is under way and gives the leases back. Kafka and shards that are away are waited for.
    ///
    /// # Errors
    /// What a person must remove first: settings that are wrong, or a topic with another number of
    /// partitions.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        metric::describe();
        let (here, losses) = (Here::new(), Losses::default());
        // One that ends for good takes the others with it.
        let stop = Shutdown::new();
        let (mut shards, mut kept) = (self.store.shards_changed(), BTreeSet::new());
        let mut keepers = JoinSet::new();
        let mut end = Ok(());
        loop {
            let open = shards.borrow_and_update().clone();
            for shard in open {
                if !stop.is_triggered() && kept.insert(shard) {
                    match self.keeper(shard, &here, &losses) {
                        Ok(keeper) => drop(keepers.spawn(keeper.run(stop.clone()))),
                        Err(error) => {
                            end = end.and(Err(error));
                            stop.trigger();
                        }
                    }
                }
            }
            tokio::select! {
                ended = keepers.join_next() => match ended {
                    None => return end,
                    Some(Ok(Ok(()))) => {}
                    Some(ended) => {
                        // The first one says why; the others are only told to stop.
                        if end.is_ok() {
                            end = ended.unwrap_or(Err(Error::Ended));
                        }
                        stop.trigger();
                    }
                },
                Ok(()) = shards.changed() => {}
                () = shutdown.cancelled(), if !stop.is_triggered() => stop.trigger(),
            }
        }
    }

    fn keeper(&self, shard: ShardId, here: &Here, losses: &Losses) -> Result<Keeper, Error> {
        let options = self.store.shard_options(shard)?;
        let post = Post {
            topic: self.settings.kafka.topic.name.clone(),
            relay: here.relay,
            name: here.name.clone(),
            lease: self.settings.relay.lease(),
            shard,
            shards: self.store.shards_changed(),
        };
        let desk = Desk::new(post.clone(), &options.url)?;
        self.board.update(shard, |_| {});
        let work = Workplace {
            post,
            settings: self.settings.clone(),
            store: self.store.clone(),
            url: reading(&options)?,
            topic: self.topic.clone(),
            losses: losses.clone(),
            board: self.board.clone(),
            faults: self.faults,
        };
        Ok(Keeper::new(work, desk))
    }
}

/// Who this relay is.
struct Here {
    relay: Uuid,
    /// `host:process`, for people.
    name: String,
}

impl Here {
    fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            relay: edge::fresh_id(),
            name: format!("{}:{}", host.trim(), std::process::id()),
        }
    }
}

fn reading(shard: &ShardOptions) -> Result<PgConnectOptions, Error> {
    let options: Result<PgConnectOptions, _> = shard.url.parse();
    let options =
        options.map_err(|_| Error::Settings(format!("shard {}: its URL is not one of PostgreSQL's", shard.id)))?;
    Ok(options
        .application_name("comanda relay")
        .options([("statement_timeout", "2000")]))
}
