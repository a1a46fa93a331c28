//! All shards of a relay process.

use event_store::{EventStore, ShardId, ShardOptions};
use service::edge;
use service::settings::{KafkaSettings, RelaySettings};
use service::shutdown::Shutdown;
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;

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
    shards: Vec<ShardOptions>,
    settings: Settings,
    topic: Topic,
    board: Board,
    faults: Faults,
}

impl Relay {
    /// `shards` are those of `store`; cursor and lease of each are kept in it. Nothing is asked of
    /// a database or of Kafka yet.
    ///
    /// # Errors
    /// [`Error::Settings`] or [`Error::File`].
    pub fn new(
        store: EventStore,
        shards: Vec<ShardOptions>,
        kafka: &KafkaSettings,
        settings: RelaySettings,
    ) -> Result<Self, Error> {
        let topic = Topic::new(kafka)?;
        let settings = Settings {
            kafka: kafka.clone(),
            relay: settings,
        };
        let ids: Vec<ShardId> = shards.iter().map(|shard| shard.id).collect();
        Ok(Self {
            store,
            shards,
            settings,
            topic,
            board: Board::new(&ids),
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

    /// Publishes until the stop is asked for; then waits for what is under way and gives the leases
    /// back. Kafka and shards that are away are waited for.
    ///
    /// # Errors
    /// What a person must remove first: settings that are wrong, or a topic with another number of
    /// partitions.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        metric::describe();
        let ids: Vec<ShardId> = self.shards.iter().map(|shard| shard.id).collect();
        let (relay, name) = (edge::fresh_id(), name());
        let losses = Losses::default();
        // One that ends for good takes the others with it.
        let stop = Shutdown::new();
        let mut keepers = JoinSet::new();
        for shard in &self.shards {
            let post = Post {
                topic: self.settings.kafka.topic.name.clone(),
                relay,
                name: name.clone(),
                lease: self.settings.relay.lease(),
                shard: shard.id,
                shards: ids.clone(),
            };
            let desk = Desk::new(post.clone(), &shard.url)?;
            let work = Workplace {
                post,
                settings: self.settings.clone(),
                store: self.store.clone(),
                url: reading(shard)?,
                topic: self.topic.clone(),
                losses: losses.clone(),
                board: self.board.clone(),
                faults: self.faults,
            };
            keepers.spawn(Keeper::new(work, desk).run(stop.clone()));
        }
        let mut end = Ok(());
        loop {
            tokio::select! {
                kept = keepers.join_next() => match kept {
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
                () = shutdown.cancelled(), if !stop.is_triggered() => stop.trigger(),
            }
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

/// `host:process`, for people.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}
