//! A log on real databases, that shards are added to and that is restored.

use std::time::Duration;

use event_store::{
    ControlOptions, EventStore, Options, Reopen, ShardId, ShardOptions, Slot, SlotPosition, Unreachable, UrlKept,
};
use sqlx::{Connection, PgConnection};

use super::{eventually, samples};

pub(crate) struct Platform {
    pub(crate) store: EventStore,
    pub(crate) shards: Vec<ShardOptions>,
    control: String,
}

async fn migrated(database: migrations::Database) -> String {
    let url = local_postgres::testing::fresh_database().await;
    migrations::migrate(database, &mut connect(&url).await)
        .await
        .expect("migrated");
    url
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the database answers")
}

async fn run(url: &str, sql: &str) {
    sqlx::raw_sql(sql)
        .execute(&mut connect(url).await)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

impl Platform {
    pub(crate) async fn of(shards: i16) -> Self {
        let control = migrated(migrations::Database::Control).await;
        let mut list = vec![];
        for id in 0..shards {
            let url = migrated(migrations::Database::EventStore).await;
            list.push(ShardOptions { id: ShardId(id), url });
        }
        event_store::bootstrap(&mut connect(&control).await, &list)
            .await
            .expect("slots are given out");
        let options = Options {
            shards: list.clone(),
            control: Some(ControlOptions { url: control.clone() }),
            placement_poll: Duration::from_millis(20),
            ..Options::default()
        };
        Self {
            store: EventStore::connect(options).await.expect("connected"),
            shards: list,
            control,
        }
    }

    /// Registers another shard and gives it the tenant's slot, which must be empty.
    pub(crate) async fn add_shard_for(&mut self, id: i16, tenant: &str) {
        let (id, slot) = (ShardId(id), Slot::of(&samples::tenant(tenant)));
        let url = migrated(migrations::Database::EventStore).await;
        let shard = ShardOptions { id, url };
        event_store::register_shard(&mut connect(&self.control).await, &shard, UrlKept::InControl)
            .await
            .expect("registered");
        for other in &self.shards {
            run(
                &other.url,
                &format!("UPDATE slots SET owned = false WHERE slot = {slot}"),
            )
            .await;
        }
        let taken = format!("INSERT INTO slots (slot, ownership) VALUES ({slot}, 2)");
        run(&shard.url, &taken).await;
        let placed = format!("UPDATE placement SET shard_id = {id} WHERE slot = {slot}");
        run(&self.control, &placed).await;
        self.shards.push(shard);
        eventually("the slot is routed to the new shard", || async {
            self.store.shard_of(slot).ok() == Some(id)
        })
        .await;
    }

    fn url(&self, shard: ShardId) -> &str {
        let found = self.shards.iter().find(|it| it.id == shard);
        &found.expect("a shard").url
    }

    /// As a copy of the shard that was made before: what the slot had beyond is not in it.
    pub(crate) async fn lose_beyond(&self, slot: Slot, kept: SlotPosition) {
        let shard = self.store.shard_of(slot).expect("owned");
        let sql = format!(
            "BEGIN; \
             ALTER TABLE events DISABLE TRIGGER events_are_append_only; \
             DELETE FROM events WHERE slot = {slot} AND slot_position > {kept}; \
             ALTER TABLE events ENABLE TRIGGER events_are_append_only; \
             UPDATE slots SET slot_position = {kept} WHERE slot = {slot}; \
             UPDATE shard SET position = (SELECT coalesce(max(position), 0) FROM events); \
             DELETE FROM relay_cursors; \
             COMMIT"
        );
        run(self.url(shard), &sql).await;
    }

    fn reopen(&self, shard: ShardId) -> Reopen<'_> {
        Reopen {
            shard,
            shards: &self.shards,
            unreachable: Unreachable::Refuse,
            known: &[],
        }
    }

    /// Opens a shard as one that was restored.
    pub(crate) async fn restored(&self, shard: ShardId) {
        event_store::restored(&mut connect(&self.control).await, &self.reopen(shard))
            .await
            .expect("restored");
    }

    /// Opens a shard as one whose standby was promoted: its timeline is not the one in its row.
    pub(crate) async fn promoted(&self, shard: ShardId) {
        run(self.url(shard), "UPDATE shard SET timeline = timeline + 7").await;
        event_store::promote(&mut connect(&self.control).await, &self.reopen(shard))
            .await
            .expect("promoted");
    }
}
