//! Projectors that learn of generations while they run, and of code that has changed.

use domain::{AggregateType, StreamId};
use projector::projections::Products;
use projector::rebuild::rebuild;
use projector::{
    Change, Consumer, FoldError, Projection, Projector, Registered, Schema, StreamEvent, WriteError, registry,
};
use service::Shutdown;
use service::health::Status;
use service::settings::ProjectorSettings;
use sqlx::PgConnection;

use super::support::{NOBODY, Site, options, unswitched};
use crate::support::real::{copy, reached, running, whole_log};
use crate::support::site::Site as KafkaSite;
use crate::support::{PATIENCE, eventually, expected, rows, samples};

#[tokio::test(flavor = "multi_thread")]
async fn given_two_projectors_then_each_learns_of_a_new_generation_by_itself() {
    for left in 0..2 {
        let mut site = Site::new().await;
        site.append().await;
        let both = [(); 2].map(|()| running(&site.store, &site.pool, ProjectorSettings::default()));
        site.rebuild(&unswitched()).await.expect("rebuilt");
        let (_, stop) = &both[1 - left];
        stop.trigger();
        assert!(stop.wait(PATIENCE).await.is_clean());
        site.more_orders(10);
        let tokens = site.append().await;
        site.reached(2, &tokens).await;
        let (_, stop) = &both[left];
        stop.trigger();
        assert!(stop.wait(PATIENCE).await.is_clean());
        assert_eq!(
            rows::of_generation(&site.pool, 2).await,
            expected::tables(&whole_log(&site.store).await)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_projectors_that_share_a_topic_then_each_feeds_a_new_generation_its_partitions() {
    let site = KafkaSite::shared("generations").await;
    let mut world = samples::busy_week();
    let (relay, one, other) = (site.relay(), site.start(), site.start());
    let tokens = copy(&site.store, &world.events()).await;
    one.reached(&tokens).await;
    eventually("both have partitions", || async {
        one.partitions() > 0 && other.partitions() > 0
    })
    .await;
    let rebuilt = rebuild(&site.store, &site.pool, &registry::all(), &unswitched(), NOBODY)
        .await
        .expect("rebuilt");
    assert_eq!(rebuilt.len(), 5);
    let known = world.events().len();
    // Tenants of many partitions, so that both projectors have some.
    for nth in 0..24 {
        world.place(&samples::tenant(&format!("t{nth}")), &samples::Sample::default());
    }
    for token in copy(&site.store, &world.events()[known..]).await {
        eventually("the new generation is fed", || async {
            let there = format!(
                "meta.checkpoints WHERE generation = 2 AND slot = {} AND slot_position >= {}",
                token.slot, token.slot_position
            );
            rows::count(&site.pool, &there).await == 5
        })
        .await;
    }
    relay.trigger();
    assert!(relay.wait(PATIENCE).await.is_clean());
    one.stop().await;
    other.stop().await;
    assert_eq!(
        rows::of_generation(&site.pool, 2).await,
        expected::tables(&whole_log(&site.store).await)
    );
}

/// The products' projection as a later binary has it.
#[derive(Debug, Clone)]
struct LaterProducts(Products);

impl Projection for LaterProducts {
    const NAME: &'static str = Products::NAME;
    const CODE_VERSION: i32 = Products::CODE_VERSION + 1;
    type State = <Products as Projection>::State;

    fn reads(&self, kind: AggregateType) -> bool {
        self.0.reads(kind)
    }

    fn fold(&self, before: Option<&Self::State>, event: &StreamEvent<'_>) -> Result<Self::State, FoldError> {
        self.0.fold(before, event)
    }

    async fn load(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        streams: &[&StreamId],
    ) -> Result<Vec<(usize, Self::State)>, sqlx::Error> {
        self.0.load(connection, schema, streams).await
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        changes: &[Change<'_, Self::State>],
    ) -> Result<(), WriteError> {
        self.0.write(connection, schema, changes).await
    }
}

fn later() -> Vec<Registered> {
    let all = registry::all().into_iter();
    all.map(|model| match model.name() {
        Products::NAME => Registered::new(LaterProducts(Products)),
        _ => model,
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_projection_that_changed_when_rebuilt_by_the_later_binary_then_each_feeds_its_own() {
    let mut site = Site::new().await;
    let tokens = site.append().await;
    let (old, stop_old) = running(&site.store, &site.pool, ProjectorSettings::default());
    for token in &tokens {
        reached(&site.pool, &old, token).await;
    }
    let consumer = Consumer::with_models(site.pool.clone(), ProjectorSettings::default(), later());
    let (new, stop_new) = (Projector::with_consumer(site.store.clone(), consumer), Shutdown::new());
    let (this, stop) = (new.clone(), stop_new.clone());
    stop_new.spawn("projector", async move { this.run(stop).await.expect("runs") });
    eventually("the later one says what to do", || async {
        let refused = new.progress().refused();
        refused
            .get("products")
            .is_some_and(|why| why.contains("comanda projections rebuild products"))
    })
    .await;
    assert_eq!(new.health().status, Status::Degraded);

    let products: Vec<Registered> = later().into_iter().filter(|it| it.name() == "products").collect();
    let rebuilt = rebuild(&site.store, &site.pool, &products, &options(), NOBODY)
        .await
        .expect("rebuilt");

    let switched = rebuilt[0].switched.as_ref().expect("switched");
    assert_eq!(
        (switched.to, switched.can_roll_back),
        (2, false),
        "the later binary does not feed the earlier one's"
    );
    assert_eq!(
        rebuilt[0].checked.compared_tenants, 0,
        "another version's rows prove nothing"
    );
    eventually("the later one is content", || async {
        new.progress().refused().is_empty()
    })
    .await;
    site.world.define_product(&samples::tenant("roma"), "diavola", 1_100);
    let tokens = site.append().await;
    for token in &tokens {
        reached(&site.pool, &new, token).await;
    }
    let old_ones = "products_g1.products WHERE product_id = 'diavola'";
    eventually("the old one feeds its own", || async {
        rows::count(&site.pool, old_ones).await == 1
    })
    .await;
    assert_eq!(
        rows::count(&site.pool, "products_g2.products WHERE product_id = 'diavola'").await,
        1
    );
    for stop in [stop_old, stop_new] {
        stop.trigger();
        assert!(stop.wait(PATIENCE).await.is_clean());
    }
}
