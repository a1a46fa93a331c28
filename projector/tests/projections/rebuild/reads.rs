//! Readers that go on through a rebuild, a switch, a rollback and a drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use projector::rebuild::{drop, rollback, switch};
use service::settings::ProjectorSettings;
use sqlx::PgPool;

use super::support::{Site, options};
use crate::support::real::running;
use crate::support::{PATIENCE, eventually};

/// How long a reader goes on with a generation that it resolved.
const KEPT: Duration = Duration::from_millis(150);

#[derive(Default)]
struct Seen {
    reads: AtomicU64,
    generations: std::sync::Mutex<std::collections::BTreeSet<i32>>,
    stop: AtomicBool,
}

/// Reads as queries do: resolves a generation, keeps it for a while, and asks one statement of it.
/// Whatever it reads is whole, and never less than before.
async fn read(pool: PgPool, seen: Arc<Seen>) {
    let mut resolved: Option<(Instant, i32)> = None;
    let mut most = 0;
    while !seen.stop.load(Ordering::Relaxed) {
        let generation = match resolved {
            Some((at, generation)) if at.elapsed() < KEPT => generation,
            _ => {
                let at = Instant::now();
                let generation =
                    sqlx::query_scalar("SELECT generation FROM meta.read_models WHERE read_model = 'orders'")
                        .fetch_one(&pool)
                        .await
                        .expect("a pointer");
                resolved = Some((at, generation));
                generation
            }
        };
        let sql = format!(
            "SELECT count(*), (SELECT sum(slot_position)::bigint FROM meta.checkpoints
              WHERE read_model = 'orders' AND generation = {generation}) FROM orders_g{generation}.orders"
        );
        let (orders, read): (i64, i64) = sqlx::query_as(&sql).fetch_one(&pool).await.expect("never fails");
        assert!(
            orders >= most,
            "{orders} orders after {most}, in generation {generation}"
        );
        assert!(orders <= read, "more orders than events");
        most = orders;
        seen.reads.fetch_add(1, Ordering::Relaxed);
        seen.generations.lock().expect("not poisoned").insert(generation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_readers_when_generations_come_and_go_then_no_read_fails_or_goes_backwards() {
    let mut site = Site::new().await;
    site.append().await;
    let (_, stop) = running(&site.store, &site.pool, ProjectorSettings::default());
    let seen = Arc::new(Seen::default());
    let readers: Vec<_> = (0..2)
        .map(|_| tokio::spawn(read(site.pool.clone(), Arc::clone(&seen))))
        .collect();
    site.more_orders(100);
    let (store, pool) = (site.store.clone(), site.pool.clone());
    let work = tokio::spawn(async move {
        let orders = projector::rebuild::named(&["orders".to_owned()]).expect("known");
        let rebuilt = projector::rebuild::rebuild(&store, &pool, &orders, &options(), &|_| {}).await;
        assert_eq!(rebuilt.expect("rebuilt")[0].switched.as_ref().expect("switched").to, 2);
    });
    let tokens = site.append().await;
    work.await.expect("rebuilt");
    let has_seen = |generation: i32| {
        let seen = Arc::clone(&seen);
        async move { seen.generations.lock().expect("not poisoned").contains(&generation) }
    };
    eventually("the new one is read", || has_seen(2)).await;
    site.reached(1, &tokens).await;
    rollback(&site.pool, "orders").await.expect("rolled back");
    switch(&site.pool, "orders", Some(2)).await.expect("forth again");
    // Longer than a reader keeps a generation, and its statement lasts.
    drop(&site.pool, "orders", 1, KEPT + Duration::from_millis(500))
        .await
        .expect("dropped");
    let reads = seen.reads.load(Ordering::Relaxed);
    eventually("reads go on", || async {
        seen.reads.load(Ordering::Relaxed) > reads + 20
    })
    .await;
    seen.stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("no read failed");
    }
    stop.trigger();
    assert!(stop.wait(PATIENCE).await.is_clean());
}
