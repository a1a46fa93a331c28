//! Several endpoints: read stores of their own, and streaming standbys.

use std::time::{Duration, Instant};

use axum::Router;
use local_postgres::testing::Replicated;
use query_api::{PoolOptions, QueryApi, ReadStores, StoreHealth};
use serde_json::json;
use service::Shutdown;
use service::settings::{DatabaseUrl, QuerySettings, ReadStoreSettings, ReplicaSettings};
use sqlx::{Connection, PgConnection};

use super::support::{Answer, OrderRow, World, post, send, slot, verifier};

const ORDERS: &str = "{ orders(establishmentId: \"main\") { nodes { number } } }";

/// A standby cancels what is in its way two seconds after it saw it: much sooner.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A router over several endpoints, watched until it is dropped.
struct Front {
    router: Router,
    stores: ReadStores,
    shutdown: Shutdown,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn settings() -> QuerySettings {
    QuerySettings {
        position_wait_ms: 300,
        position_poll_ms: 5,
        replica_check_ms: 20,
        replica_fresh_lag: 10,
        breaker_open_ms: 100,
        ..QuerySettings::default()
    }
}

fn store(name: &str, url: &str, standbys: &[String]) -> ReadStoreSettings {
    let replica = |(at, url): (usize, &String)| ReplicaSettings {
        name: format!("standby{}", at + 1),
        url: DatabaseUrl::new(url.clone()),
        url_file: None,
    };
    ReadStoreSettings {
        name: name.to_owned(),
        replicas: standbys.iter().enumerate().map(replica).collect(),
        ..ReadStoreSettings::main(DatabaseUrl::new(url))
    }
}

impl Front {
    async fn over(stores: &[ReadStoreSettings]) -> Self {
        let query = settings();
        let options = PoolOptions {
            statement_timeout: STATEMENT_TIMEOUT,
            ..PoolOptions::default()
        };
        let stores = ReadStores::open(stores, &query, &options).unwrap();
        let shutdown = Shutdown::new();
        stores.watch(&shutdown);
        let api = QueryApi::new(stores.clone(), verifier(), &query);
        let front = Self {
            router: query_api::router(api),
            stores,
            shutdown,
        };
        front
            .until("all are looked at", |all| all.iter().all(|it| it.lag_events.is_some()))
            .await;
        front
    }

    async fn until(&self, what: &str, holds: impl Fn(&[StoreHealth]) -> bool) -> Vec<StoreHealth> {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let health = self.stores.health().await;
            if holds(&health) {
                return health;
            }
            assert!(Instant::now() < give_up, "still not so: {what}: {health:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn ask(&self, world: &World, position: Option<i64>) -> Answer {
        let mut request = post(&world.token("dev"), &json!({ "query": ORDERS }));
        if let Some(position) = position {
            let token = format!("{}.1.{position}", slot("dev"));
            request.headers_mut().insert("comanda-position", token.parse().unwrap());
        }
        send(&self.router, request).await
    }

    /// The number of the only order, which tells the stores apart.
    async fn number(&self, world: &World, position: Option<i64>) -> i64 {
        self.ask(world, position).await.data()["orders"]["nodes"][0]["number"]
            .as_i64()
            .unwrap()
    }
}

fn position(answer: &Answer) -> i64 {
    answer
        .header("comanda-position")
        .rsplit('.')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

async fn two_stores() -> (World, World, Front) {
    let (one, two) = (World::new().await, World::new().await);
    OrderRow::new("dev", 1).insert(&one).await;
    OrderRow::new("dev", 2).insert(&two).await;
    let front = Front::over(&[store("one", &one.url, &[]), store("two", &two.url, &[])]).await;
    (one, two, front)
}

/// As when two have just gone together and nobody has noticed yet.
#[tokio::test]
async fn given_two_of_three_stores_that_let_requests_down_then_the_third_answers_every_one() {
    let worlds = [World::new().await, World::new().await, World::new().await];
    OrderRow::new("dev", 3).insert(&worlds[2]).await;
    let stores = ["one", "two", "three"].iter().zip(&worlds);
    let stores: Vec<_> = stores.map(|(name, world)| store(name, &world.url, &[])).collect();
    let front = Front::over(&stores).await;
    for world in &worlds[..2] {
        let mut database = PgConnection::connect(&world.url).await.unwrap();
        sqlx::query("ALTER SCHEMA orders_g1 RENAME TO gone")
            .execute(&mut database)
            .await
            .unwrap();
    }
    for _ in 0..12 {
        assert_eq!(front.number(&worlds[2], None).await, 3);
    }
}

#[tokio::test]
async fn given_two_fresh_stores_then_reads_are_spread() {
    let (one, _two, front) = two_stores().await;
    let mut seen = [0, 0];
    for _ in 0..20 {
        seen[usize::try_from(front.number(&one, None).await).unwrap() - 1] += 1;
    }
    assert!(seen.iter().all(|times| *times >= 5), "{seen:?}");
}

#[tokio::test]
async fn given_a_store_that_is_behind_then_it_is_seen_avoided_and_used_again() {
    let (one, two, front) = two_stores().await;
    one.checkpoint("dev", "orders", 1, 50).await;
    two.checkpoint("dev", "orders", 1, 20).await;
    front
        .until("the lag is seen", |all| all[1].lag_events == Some(30))
        .await;
    for _ in 0..10 {
        assert_eq!(front.number(&one, None).await, 1, "the other is stale");
        assert_eq!(front.number(&one, Some(50)).await, 1, "the other has not got there");
    }
    two.checkpoint("dev", "orders", 1, 45).await;
    front.until("it is fresh", |all| all[1].lag_events == Some(5)).await;
    let mut tries = 0;
    while front.number(&one, None).await != 2 {
        tries += 1;
        assert!(tries < 100, "within the fresh lag it answers what needs no more");
    }
    for _ in 0..10 {
        assert_eq!(front.number(&one, Some(50)).await, 1);
    }
}

#[tokio::test]
async fn given_all_are_behind_the_token_then_the_error_is_honest_and_comes_in_time() {
    let (one, two, front) = two_stores().await;
    one.checkpoint("dev", "orders", 1, 5).await;
    two.checkpoint("dev", "orders", 1, 6).await;
    let began = Instant::now();
    let answer = front.ask(&one, Some(9)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (503, "POSITION_NOT_REACHED")
    );
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    let (answer, ()) = tokio::join!(front.ask(&one, Some(9)), two.checkpoint("dev", "orders", 1, 9));
    assert_eq!(
        answer.data()["orders"]["nodes"][0]["number"],
        2,
        "the one that got there"
    );
}

#[tokio::test]
async fn given_writes_then_a_client_that_returns_its_token_never_goes_back() {
    let (one, two, front) = two_stores().await;
    let writes = async {
        for at in 1..=60 {
            one.checkpoint("dev", "orders", 1, at).await;
            if at % 3 == 0 {
                two.checkpoint("dev", "orders", 1, at).await;
            }
        }
    };
    let reads = async {
        let mut last = 0;
        while last < 60 {
            let answer = front.ask(&one, Some(last)).await;
            let _ = answer.data();
            let now = position(&answer);
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    };
    tokio::join!(writes, reads);
}

#[tokio::test]
async fn given_a_store_whose_checkpoints_went_back_then_the_other_answers() {
    let (one, two, front) = two_stores().await;
    for world in [&one, &two] {
        world.checkpoint("dev", "orders", 1, 9).await;
    }
    front
        .until("both are there", |all| all.iter().all(|it| it.lag_events == Some(0)))
        .await;
    assert_eq!(position(&front.ask(&one, Some(9)).await), 9);
    two.checkpoint("dev", "orders", 1, 3).await;
    for _ in 0..10 {
        assert_eq!(front.number(&one, Some(9)).await, 1);
    }
}

async fn replicated() -> (Replicated, World, Front) {
    let servers = Replicated::start("reads", 1).await;
    let world = World::on(servers.primary.url("reads"), QuerySettings::default()).await;
    OrderRow::new("dev", 1).insert(&world).await;
    world.checkpoint("dev", "orders", 1, 1).await;
    servers.caught_up(0).await;
    let standby = servers.standbys[0].url("reads");
    let front = Front::over(&[store("main", &world.url, &[standby])]).await;
    front
        .until("both are there", |all| all.iter().all(|it| it.lag_events == Some(0)))
        .await;
    (servers, world, front)
}

/// How many connections of the query API have read rows there.
async fn readers(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let reading = "select count(*) from pg_stat_activity where application_name = 'comanda-query-api'
                   and query like '%AS page ON TRUE%'";
    sqlx::query_scalar(reading).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_a_standby_that_is_killed_or_hangs_then_nobody_sees_it_and_it_is_used_again() {
    let (servers, world, front) = replicated().await;
    let standby = &servers.standbys[0];
    for _ in 0..10 {
        assert_eq!(front.number(&world, None).await, 1);
    }
    assert!(readers(&world.url).await > 0 && readers(&standby.url("reads")).await > 0);

    let (killed, ()) = tokio::join!(standby.kill(), async {
        for _ in 0..50 {
            assert_eq!(front.number(&world, Some(1)).await, 1);
        }
    });
    killed.unwrap();
    let health = front.until("it is seen", |all| all[1].breaker_open).await;
    assert_eq!(health[1].name, "main/standby1");
    assert!(health[1].fault.is_some() && health[0].fault.is_none());
    for _ in 0..20 {
        assert_eq!(front.number(&world, None).await, 1);
    }
    standby.restart().await.unwrap();
    front
        .until("it is back", |all| !all[1].breaker_open && all[1].fault.is_none())
        .await;
    let give_up = Instant::now() + Duration::from_secs(30);
    while readers(&standby.url("reads")).await == 0 {
        assert_eq!(front.number(&world, None).await, 1);
        assert!(Instant::now() < give_up, "it is not used again");
    }

    standby.freeze();
    for _ in 0..20 {
        assert_eq!(front.number(&world, None).await, 1);
    }
    front.until("it hangs", |all| all[1].breaker_open).await;
    standby.thaw();
    front.until("it goes on", |all| !all[1].breaker_open).await;
}

#[tokio::test]
async fn given_a_standby_that_does_not_replay_then_its_lag_is_seen_and_it_is_avoided() {
    let (servers, world, front) = replicated().await;
    let mut standby = PgConnection::connect(&servers.standbys[0].url("reads")).await.unwrap();
    sqlx::query("select pg_wal_replay_pause()")
        .execute(&mut standby)
        .await
        .unwrap();
    let paused = "select pg_get_wal_replay_pause_state() = 'paused'";
    while !sqlx::query_scalar::<_, bool>(paused)
        .fetch_one(&mut standby)
        .await
        .unwrap()
    {
        tokio::task::yield_now().await;
    }
    world.checkpoint("dev", "orders", 1, 40).await;
    assert_eq!(position(&front.ask(&world, Some(40)).await), 40);
    front
        .until("the lag is seen", |all| all[1].lag_events == Some(39))
        .await;
    for _ in 0..10 {
        assert_eq!(position(&front.ask(&world, None).await), 40);
    }
    servers.primary.kill().await.unwrap();
    front.until("the primary is away", |all| all[0].breaker_open).await;
    assert_eq!(
        position(&front.ask(&world, None).await),
        1,
        "the least behind is better than none"
    );
    let behind = front.ask(&world, Some(40)).await;
    assert_eq!(
        (behind.status.as_u16(), behind.code().as_str()),
        (503, "POSITION_NOT_REACHED")
    );
}

/// Has every reading of the orders take, on a standby only, longer than any statement may.
async fn slow_standby(servers: &Replicated, world: &World) {
    world
        .execute(
            "ALTER TABLE orders_g1.orders RENAME TO rows;
             CREATE FUNCTION orders_g1.slowly() RETURNS boolean VOLATILE LANGUAGE sql AS
                 $$ SELECT CASE WHEN pg_is_in_recovery() THEN pg_sleep(60) IS NOT NULL ELSE true END $$;
             CREATE VIEW orders_g1.orders AS SELECT * FROM orders_g1.rows WHERE orders_g1.slowly();",
        )
        .await;
    servers.caught_up(0).await;
}

async fn until_one(url: &str, what: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(30);
    while sqlx::query_scalar::<_, i64>(what)
        .fetch_one(&mut connection)
        .await
        .unwrap()
        == 0
    {
        assert!(Instant::now() < give_up, "still none: {what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_queries_that_a_standby_cancels_to_go_on_replaying_then_they_are_answered_from_elsewhere() {
    let (servers, world, front) = replicated().await;
    OrderRow::new("other", 2).insert(&world).await;
    slow_standby(&servers, &world).await;
    let standby = servers.standbys[0].url("reads");
    let lock = ["BEGIN; LOCK TABLE orders_g1.rows IN ACCESS EXCLUSIVE MODE; COMMIT"].as_slice();
    let clean_up = [
        "DELETE FROM orders_g1.rows WHERE tenant_id = 'other'",
        "VACUUM (TRUNCATE false) orders_g1.rows",
    ];
    for (kind, conflict) in [("confl_lock", lock), ("confl_snapshot", &clean_up)] {
        // Several at once: they go to both endpoints, by turns.
        let asked = futures::future::join_all((0..4).map(|_| front.number(&world, Some(1))));
        let cancelled = async {
            let reading = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
            until_one(&standby, reading).await;
            for statement in conflict {
                world.execute(statement).await;
            }
        };
        // An answer of the standby's own would be that the statement took too long.
        let (numbers, ()) = tokio::join!(asked, cancelled);
        assert_eq!(numbers, [1; 4], "{kind}");
        let happened = format!("select {kind} from pg_stat_database_conflicts where datname = 'reads'");
        until_one(&standby, &happened).await;
        let health = front.stores.health().await;
        assert!(
            health.iter().all(|it| !it.breaker_open && it.fault.is_none()),
            "it is no fault of the standby: {health:?}"
        );
    }
}

#[tokio::test]
async fn given_a_primary_that_is_stopped_then_queries_go_on_from_the_standby_and_without_any_are_503() {
    let (servers, world, front) = replicated().await;
    servers.primary.kill().await.unwrap();
    for _ in 0..20 {
        assert_eq!(front.number(&world, Some(1)).await, 1);
    }
    servers.standbys[0].kill().await.unwrap();
    front
        .until("both are away", |all| all.iter().all(|it| it.breaker_open))
        .await;
    let began = Instant::now();
    let refused = front.ask(&world, None).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert!(began.elapsed() < Duration::from_secs(1), "at once");
    servers.standbys[0].restart().await.unwrap();
    front.until("one is back", |all| !all[1].breaker_open).await;
    assert_eq!(front.number(&world, None).await, 1);
}
