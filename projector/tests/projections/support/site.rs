//! A platform with a topic, and projectors that read it.

use std::time::{Duration, Instant};

use event_store::{EventStore, PositionToken, RecordedEvent};
use local_kafka::testing;
use projector::{Consumer, KafkaProjector};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use relay::Relay;
use service::Shutdown;
use service::settings::{KafkaSettings, ProjectorSettings, RelaySettings, TopicSettings};
use sqlx::PgPool;

use super::platform::{Platform, connect};
use super::real::whole_log;
use super::{ALL, expected, read_store, rows};

/// Groups take their time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PARTITIONS: u16 = 8;

pub(crate) struct Site {
    pub(crate) platform: Platform,
    pub(crate) store: EventStore,
    pub(crate) kafka: KafkaSettings,
    pub(crate) pool: PgPool,
}

pub(crate) struct Member {
    pub(crate) projector: KafkaProjector,
    pool: PgPool,
    stop: Shutdown,
}

impl Member {
    pub(crate) async fn reached(&self, tokens: &[PositionToken]) {
        for token in tokens {
            let progress = self.projector.progress();
            let reached = rows::reached(&self.pool, progress, &ALL, token);
            tokio::time::timeout(PATIENCE, reached)
                .await
                .unwrap_or_else(|_| panic!("{token} is not reached: {:?} {:?}", progress.shards(), progress.kafka()));
        }
    }

    /// Waits until health speaks of it.
    pub(crate) async fn says(&self, what: &str) {
        let says = async || self.projector.health().detail.is_some_and(|it| it.contains(what));
        eventually(&format!("health speaks of: {what}"), says).await;
    }

    pub(crate) fn partitions(&self) -> usize {
        self.projector.progress().kafka().map_or(0, |kafka| kafka.partitions)
    }

    pub(crate) async fn stop(self) {
        self.stop.trigger();
        assert!(self.stop.wait(PATIENCE).await.is_clean());
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !holds().await {
        assert!(Instant::now() < give_up, "never came about: {what}");
        look.tick().await;
    }
}

impl Site {
    pub(crate) async fn new(bootstrap: String, topic: &str) -> Self {
        let platform = Platform::of(2).await;
        let topic = TopicSettings {
            name: topic.to_owned(),
            partitions: PARTITIONS,
            replication: 1,
            min_insync: 1,
            retention_ms: -1,
        };
        let kafka = KafkaSettings {
            bootstrap,
            topic,
            ..KafkaSettings::default()
        };
        let pool = read_store().await;
        let site = Self {
            store: platform.store.clone(),
            platform,
            kafka,
            pool,
        };
        site.make_topic().await;
        site
    }

    pub(crate) async fn shared(topic: &str) -> Self {
        Self::new(testing::shared().await.bootstrap(), topic).await
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.bootstrap);
        config
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    pub(crate) async fn make_topic(&self) {
        let topic = NewTopic::new(
            &self.kafka.topic.name,
            i32::from(PARTITIONS),
            TopicReplication::Fixed(1),
        )
        .set("retention.ms", "-1");
        let admin = self.admin();
        eventually("the topic is made", async || {
            let made = admin.create_topics([&topic], &AdminOptions::new()).await;
            made.is_ok_and(|made| made.iter().all(Result::is_ok))
        })
        .await;
    }

    pub(crate) async fn delete_topic(&self) {
        let name = self.kafka.topic.name.as_str();
        let gone = self.admin().delete_topics(&[name], &AdminOptions::new()).await;
        assert!(gone.expect("answered").iter().all(Result::is_ok));
    }

    pub(crate) async fn publish<'a>(&self, events: impl IntoIterator<Item = &'a RecordedEvent>) {
        let producer: FutureProducer = self.client().create().expect("a producer");
        let mut sent = vec![];
        for event in events {
            let shard = self.store.shard_of(event.slot).expect("owned");
            let encoded = relay::record::encode(event, shard, PARTITIONS);
            let record = FutureRecord::to(&self.kafka.topic.name)
                .key(encoded.key)
                .payload(encoded.payload)
                .partition(encoded.partition)
                .headers(encoded.headers);
            sent.push(producer.send_result(record).map_err(|(error, _)| error).expect("taken"));
        }
        for sent in sent {
            sent.await.expect("answered").expect("delivered");
        }
    }

    /// As if a relay had published everything.
    pub(crate) async fn claim_published(&self) {
        for shard in &self.platform.shards {
            let mut shard = connect(&shard.url).await;
            sqlx::query(
                "INSERT INTO relay_cursors (topic, position) SELECT $1, position FROM shard
                 ON CONFLICT (topic) DO UPDATE SET position = excluded.position",
            )
            .bind(&self.kafka.topic.name)
            .execute(&mut shard)
            .await
            .expect("moved");
        }
    }

    pub(crate) fn settings(&self) -> ProjectorSettings {
        ProjectorSettings {
            reconcile_interval_ms: 200,
            retry_min_ms: 5,
            retry_max_ms: 100,
            ..ProjectorSettings::default()
        }
    }

    pub(crate) fn start(&self) -> Member {
        self.start_on(self.pool.clone(), self.settings())
    }

    pub(crate) fn start_on(&self, pool: PgPool, settings: ProjectorSettings) -> Member {
        let consumer = Consumer::new(pool.clone(), settings);
        let projector = KafkaProjector::with_consumer(self.store.clone(), &self.kafka, consumer);
        let stop = Shutdown::new();
        let (this, told) = (projector.clone(), stop.clone());
        stop.spawn("projector", async move { this.run(told).await.expect("runs") });
        Member { projector, pool, stop }
    }

    pub(crate) fn relay(&self) -> Shutdown {
        let relay = Relay::new(self.store.clone(), &self.kafka, RelaySettings::default());
        let (relay, stop) = (relay.expect("settings"), Shutdown::new());
        let told = stop.clone();
        stop.spawn("relay", async move { relay.run(told).await.expect("runs") });
        stop
    }

    pub(crate) async fn assert_rows(&self) {
        assert_eq!(
            rows::all(&self.pool).await,
            expected::tables(&whole_log(&self.store).await)
        );
        assert_eq!(rows::count(&self.pool, "meta.parked_streams").await, 0);
    }
}
