//! A platform with orders, and rebuilds of its read models.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::order::OrderStatus;
use event_store::{EventStore, PositionToken, RecordedEvent};
use projector::rebuild::{self, Options, Rebuilt, SwitchWhen};
use projector::{Error, registry};
use sqlx::PgPool;

use crate::support::platform::Platform;
use crate::support::real::copy;
use crate::support::{eventually, read_store, rows, samples};

pub(super) const NOBODY: rebuild::Observer<'static> = &|_| {};

/// Orders of a few tenants, and how many of their events are in the log.
pub(super) struct Site {
    pub(super) platform: Platform,
    pub(super) store: EventStore,
    pub(super) pool: PgPool,
    pub(super) world: samples::World,
    copied: usize,
}

impl Site {
    pub(super) async fn new() -> Self {
        let (platform, pool) = (Platform::of(2).await, read_store().await);
        projector::ensure_generations(&pool).await.expect("created");
        Self {
            store: platform.store.clone(),
            platform,
            pool,
            world: samples::busy_week(),
            copied: 0,
        }
    }

    /// Places and accepts as many orders, of several tenants.
    pub(super) fn more_orders(&mut self, count: usize) {
        for nth in 0..count {
            let tenant = samples::tenant(["roma", "milano", "napoli", "torino"][nth % 4]);
            let sample = samples::Sample {
                customer: [Some("giulia"), None][nth % 2],
                items: vec![(1, 500), (2, 700)],
                ..samples::Sample::default()
            };
            let order = self.world.place(&tenant, &sample);
            assert!(self.world.change(&order, OrderStatus::Accepted, None));
        }
    }

    /// Appends what the world has that the log has not, the tenants at once. Gives where each ended.
    pub(super) async fn append(&mut self) -> Vec<PositionToken> {
        let mut of_tenants: BTreeMap<_, Vec<RecordedEvent>> = BTreeMap::new();
        for event in self.world.events().split_off(self.copied) {
            self.copied += 1;
            of_tenants.entry(event.stream.tenant().clone()).or_default().push(event);
        }
        let store = &self.store;
        let copies = of_tenants
            .values()
            .map(|events| async move { copy(store, events).await.pop().expect("events") });
        futures::future::join_all(copies).await
    }

    pub(super) async fn rebuild(&self, options: &Options) -> Result<Vec<Rebuilt>, Error> {
        rebuild::rebuild(&self.store, &self.pool, &registry::all(), options, NOBODY).await
    }

    pub(super) async fn generation_count(&self) -> i64 {
        rows::count(&self.pool, "meta.generations").await
    }

    /// Which generation of a read model is served.
    pub(super) async fn served(&self, read_model: &str) -> i32 {
        sqlx::query_scalar("SELECT generation FROM meta.read_models WHERE read_model = $1")
            .bind(read_model)
            .fetch_one(&self.pool)
            .await
            .expect("a pointer")
    }

    /// Waits until generation `number` of every read model holds these events, served or not.
    pub(super) async fn reached(&self, number: i32, tokens: &[PositionToken]) {
        for token in tokens {
            eventually(&format!("generation {number} reaches {token}"), || async {
                let reached: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM meta.checkpoints
                      WHERE generation = $1 AND slot = $2 AND slot_position >= $3 AND incarnation = $4",
                )
                .bind(number)
                .bind(i32::from(token.slot.0))
                .bind(token.slot_position.0)
                .bind(token.incarnation.0)
                .fetch_one(&self.pool)
                .await
                .expect("a count");
                reached == 5
            })
            .await;
        }
    }

    /// Events that the first generation's filling has committed, of one read model.
    pub(super) async fn filled(&self, number: i32) -> i64 {
        let filled: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(slot_position), 0)::bigint FROM meta.checkpoints
              WHERE read_model = 'orders' AND generation = $1",
        )
        .bind(number)
        .fetch_one(&self.pool)
        .await
        .expect("a sum");
        filled
    }
}

/// Small chunks, so that there are many; a lease that runs out soon.
pub(super) fn options() -> Options {
    Options {
        workers: 2,
        chunk: 20,
        lease: Duration::from_millis(600),
        holder: "a test".to_owned(),
        ..Options::default()
    }
}

pub(super) fn unswitched() -> Options {
    Options {
        switch: SwitchWhen::Asked,
        ..options()
    }
}
