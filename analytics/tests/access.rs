//! What readers see, and what they cannot be made to see or do.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use analytics::{DatabaseAt, Databases, Error, RolePassword, Sees, grant, revoke, set_up};
use domain::TenantId;
use event_store::Slot;
use local_postgres::Server;
use local_postgres::testing::{ScratchFolder, throwaway};
use migrations::Database;
use sqlx::{Connection, Executor, PgConnection};

/// Two shards, a read store and a control database on one server, with events of three tenants.
struct Platform {
    server: Server,
    databases: Databases,
    _folder: ScratchFolder,
}

const CANARY: &str = "canary-of-wine";

impl Platform {
    async fn start() -> Self {
        let folder = ScratchFolder::new();
        let server = Server::start(throwaway(folder.path())).await.unwrap();
        let kinds = [
            ("control", Database::Control),
            ("shard_0", Database::EventStore),
            ("shard_1", Database::EventStore),
            ("read_store", Database::ReadStore),
        ];
        for (name, kind) in kinds {
            server.ensure_database(name).await.unwrap();
            let mut database = PgConnection::connect(&server.url(name)).await.unwrap();
            migrations::migrate(kind, &mut database).await.unwrap();
        }
        let at = |name: &str| DatabaseAt {
            name: name.to_owned(),
            url: server.url(name),
        };
        let databases = Databases {
            shards: vec![(0, at("shard_0")), (1, at("shard_1"))],
            control: at("control"),
            hub: at("read_store"),
        };
        let platform = Self {
            server,
            databases,
            _folder: folder,
        };
        platform.store("shard_0", "bread", 3, true, "bread").await;
        platform.store("shard_1", "wine", 2, true, CANARY).await;
        platform.store("shard_1", "cheese", 4, true, "cheese").await;
        // What a move has left behind, and what was brought here by one.
        platform.store("shard_0", "cheese", 4, false, "cheese").await;
        platform
    }

    async fn store(&self, shard: &str, tenant: &str, events: i64, owned: bool, text: &str) {
        let mut connection = self.owner(shard).await;
        let slot = slot(tenant);
        sqlx::query("INSERT INTO slots (slot, slot_position, owned) VALUES ($1, $2, $3)")
            .bind(slot)
            .bind(events)
            .bind(owned)
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, \
                                 position, slot_position, recorded_at, event_id, slot, tenant_id) \
             SELECT 'order', $1 || '/o1', n, 'OrderCreated', '1', json_build_object('text', $4), \
                    json_build_object('establishment_id', 'main', 'number', n::text, 'occurred_at', \
                                      '2026-11-24T12:00:00Z'), \
                    (SELECT coalesce(max(position), 0) FROM events) + n, n, now(), gen_random_uuid(), $2, $1 \
               FROM generate_series(1, $3) n",
        )
        .bind(tenant)
        .bind(slot)
        .bind(events)
        .bind(text)
        .execute(&mut connection)
        .await
        .unwrap();
    }

    async fn owner(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.server.url(database)).await.unwrap()
    }

    async fn connect(&self, database: &str, role: &str, password: &RolePassword) -> PgConnection {
        let (port, password) = (self.server.port(), password.expose());
        let url = format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable");
        PgConnection::connect(&url).await.unwrap()
    }

    async fn grant(&self, role: &str, tenant: &str) -> RolePassword {
        let sees = Sees::Tenant(tenant.parse().unwrap());
        grant(&self.databases, &role.parse().unwrap(), &sees).await.unwrap()
    }
}

fn slot(tenant: &str) -> i16 {
    let tenant: TenantId = tenant.parse().unwrap();
    i16::try_from(Slot::of(&tenant).0).unwrap()
}

async fn counts(connection: &mut PgConnection) -> Vec<(String, i64)> {
    let counts = sqlx::query_as("SELECT tenant_id, count(*) FROM analytics.events GROUP BY 1 ORDER BY 1");
    counts.fetch_all(connection).await.unwrap()
}

fn seen(tenants: &[(&str, i64)]) -> Vec<(String, i64)> {
    tenants.iter().map(|(tenant, n)| ((*tenant).to_owned(), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_readers_then_each_sees_its_tenant_once_on_its_shard_and_across_shards() {
    let platform = Platform::start().await;
    let role: analytics::RoleName = "bread_analyst".parse().unwrap();
    let early = grant(&platform.databases, &role, &Sees::Everything).await.unwrap_err();
    assert!(matches!(early, Error::NoHub), "{early:?}");
    set_up(&platform.databases).await.unwrap();
    let bread = platform.grant("bread_analyst", "bread").await;
    let all = grant(&platform.databases, &"all_analyst".parse().unwrap(), &Sees::Everything)
        .await
        .unwrap();

    for (database, role, password, expected) in [
        ("shard_0", "bread_analyst", &bread, seen(&[("bread", 3)])),
        ("shard_1", "bread_analyst", &bread, seen(&[])),
        ("read_store", "bread_analyst", &bread, seen(&[("bread", 3)])),
        ("shard_1", "all_analyst", &all, seen(&[("cheese", 4), ("wine", 2)])),
        (
            "read_store",
            "all_analyst",
            &all,
            seen(&[("bread", 3), ("cheese", 4), ("wine", 2)]),
        ),
    ] {
        let mut reader = platform.connect(database, role, password).await;
        assert_eq!(counts(&mut reader).await, expected, "{role} in {database}");
    }

    // Typed columns.
    let mut reader = platform.connect("read_store", "bread_analyst", &bread).await;
    let row: (String, String, i64, String, i64) = sqlx::query_as(
        "SELECT stream_type, stream_id, order_number, payload ->> 'text', extract(epoch FROM occurred_at)::bigint \
           FROM analytics.events ORDER BY slot_position LIMIT 1",
    )
    .fetch_one(&mut reader)
    .await
    .unwrap();
    assert_eq!(row, ("order".into(), "o1".into(), 1, "bread".into(), 1_795_521_600));

    let other = Sees::Tenant("wine".parse().unwrap());
    let refused = grant(&platform.databases, &role, &other).await.unwrap_err();
    assert!(matches!(refused, Error::OtherTenant { .. }), "{refused:?}");
    let refused = grant(&platform.databases, &"comanda".parse().unwrap(), &Sees::Everything).await;
    assert!(matches!(refused, Err(Error::RoleTaken { .. })), "{refused:?}");

    // Setting up again draws another password for the hub, and readers keep their rights.
    set_up(&platform.databases).await.unwrap();
    assert_eq!(counts(&mut reader).await, seen(&[("bread", 3)]));
    revoke(&platform.databases, &role).await.unwrap();
    let gone = sqlx::query("SELECT FROM pg_roles WHERE rolname = 'bread_analyst'");
    let gone = gone.fetch_optional(&mut platform.owner("control").await).await.unwrap();
    assert!(gone.is_none());
}

/// The platform before its other shards were added.
fn with_one_shard(databases: &Databases) -> Databases {
    Databases {
        shards: databases.shards[..1].to_vec(),
        control: databases.control.clone(),
        hub: databases.hub.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_shard_that_is_added_then_setting_up_again_shows_it() {
    let platform = Platform::start().await;
    let first = with_one_shard(&platform.databases);
    set_up(&first).await.unwrap();
    let all = grant(&first, &"all_analyst".parse().unwrap(), &Sees::Everything)
        .await
        .unwrap();
    let mut reader = platform.connect("read_store", "all_analyst", &all).await;
    assert_eq!(counts(&mut reader).await, seen(&[("bread", 3)]));
    set_up(&platform.databases).await.unwrap();
    assert_eq!(
        counts(&mut reader).await,
        seen(&[("bread", 3), ("cheese", 4), ("wine", 2)])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_shard_added_since_and_a_revocation_cut_short_when_revoked_then_the_reader_is_gone() {
    let platform = Platform::start().await;
    let first = with_one_shard(&platform.databases);
    set_up(&first).await.unwrap();
    let role: analytics::RoleName = "all_analyst".parse().unwrap();
    grant(&first, &role, &Sees::Everything).await.unwrap();
    // The role is the server's, so the second shard has it and never listed it.
    set_up(&platform.databases).await.unwrap();
    let mut added = platform.owner("shard_1").await;
    added
        .execute("DELETE FROM analytics.readers WHERE role_name = 'all_analyst'")
        .await
        .unwrap();
    // The first shard was seen to before the cut.
    let mut seen_to = platform.owner("shard_0").await;
    seen_to
        .execute("DELETE FROM analytics.readers WHERE role_name = 'all_analyst'; DROP OWNED BY all_analyst")
        .await
        .unwrap();

    revoke(&platform.databases, &role).await.unwrap();

    let mut hub = platform.owner("read_store").await;
    let gone = sqlx::query("SELECT FROM pg_roles WHERE rolname = 'all_analyst'");
    assert!(gone.fetch_optional(&mut hub).await.unwrap().is_none());
    let listed = sqlx::query("SELECT FROM analytics.readers WHERE role_name = 'all_analyst'");
    assert!(listed.fetch_optional(&mut hub).await.unwrap().is_none());
    revoke(&platform.databases, &role).await.unwrap();
    // Somebody else's role is left alone still.
    hub.execute("CREATE ROLE cook LOGIN").await.unwrap();
    let refused = revoke(&platform.databases, &"cook".parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, Error::RoleTaken { .. }), "{refused:?}");
}

/// What a reader of one tenant may try: each must be refused.
const REFUSED: &[&str] = &[
    "SELECT * FROM public.events",
    "SELECT * FROM public.stream_events",
    "SELECT * FROM analytics.readers",
    "SELECT * FROM analytics_shards.shard_1",
    "INSERT INTO analytics.readers VALUES (session_user, NULL, NULL)",
    "UPDATE analytics.readers SET tenant_id = 'wine'",
    "SET SESSION AUTHORIZATION comanda",
    "SELECT set_config('session_authorization', 'comanda', false)",
    "SET ROLE comanda",
    "SET ROLE comanda_analytics",
    "SET temp_file_limit = -1",
    "SET row_security = off; SELECT * FROM public.events",
    "DELETE FROM analytics.events",
    "CREATE TABLE analytics.mine (n int)",
    "CREATE TABLE public.mine (n int)",
    "CREATE TEMP TABLE mine (n int)",
    "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS \
         $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$",
    "CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION dblink",
    "CREATE ROLE other",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE SERVER mine FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE USER MAPPING FOR CURRENT_USER SERVER comanda_shard_1",
    "SELECT lo_create(0)",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/comanda-analyst'",
    "SELECT rolpassword FROM pg_authid",
    "SELECT umoptions FROM pg_user_mapping",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'comanda'",
    "SELECT pg_create_physical_replication_slot('mine')",
    // Whoever holds the head lock halts appends.
    "SELECT lock_head()",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_xact_lock_shared(1, 2)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT * FROM recognise_server(0, 0)",
];

#[tokio::test(flavor = "multi_thread")]
async fn given_a_reader_who_means_harm_then_nothing_of_another_tenant_is_shown_or_changed() {
    let platform = Platform::start().await;
    set_up(&platform.databases).await.unwrap();
    let password = platform.grant("bread_analyst", "bread").await;
    for database in ["shard_0", "shard_1", "read_store", "control"] {
        let mut reader = platform.connect(database, "bread_analyst", &password).await;
        // A default that the reader may change; what must not happen is refused by rights.
        reader.execute("SET default_transaction_read_only = off").await.unwrap();
        for attempt in REFUSED {
            let done = reader.execute(*attempt).await;
            assert!(done.is_err(), "in {database}: {attempt}");
            assert!(
                !done.unwrap_err().to_string().contains(CANARY),
                "in {database}: {attempt}"
            );
        }
    }
    let mut control = platform.connect("control", "bread_analyst", &password).await;
    for table in ["shards", "placement", "processes"] {
        assert!(
            control
                .execute(format!("SELECT * FROM {table}").as_str())
                .await
                .is_err()
        );
    }
}

/// Conditions that fail, or tell, on a row of another tenant's if they ever get one.
const LEAKY: &[&str] = &[
    "SELECT count(*) FROM analytics.events WHERE 1 / (CASE tenant_id WHEN 'bread' THEN 1 ELSE 0 END) = 1",
    "SELECT count(*) FROM analytics.events WHERE (CASE tenant_id WHEN 'bread' THEN '1' ELSE payload ->> 'text' END)::int = 1",
    "SELECT count(*) FROM analytics.events WHERE payload::text LIKE '%canary%' AND 1 / (length(tenant_id) - 4) >= 0",
    "SELECT count(*) FROM analytics.events e WHERE tenant_id = 'wine' OR tenant_id = 'cheese'",
];

#[tokio::test(flavor = "multi_thread")]
async fn given_conditions_that_leak_then_they_are_given_the_readers_own_rows_only() {
    let platform = Platform::start().await;
    set_up(&platform.databases).await.unwrap();
    let password = platform.grant("bread_analyst", "bread").await;
    let wine = platform.grant("wine_analyst", "wine").await;
    // Cheap in the planner's eyes, so that it would be asked first if it were allowed to.
    for database in ["shard_0", "shard_1", "read_store"] {
        let mut owner = platform.owner(database).await;
        owner
            .execute(
                "CREATE FUNCTION leak(tenant text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS \
                 $$ BEGIN IF tenant <> 'bread' THEN RAISE EXCEPTION 'seen: %', tenant; END IF; RETURN true; END $$",
            )
            .await
            .unwrap();
        let mut reader = platform.connect(database, "bread_analyst", &password).await;
        for attempt in LEAKY {
            let told = reader.execute(*attempt).await;
            assert!(told.is_ok(), "in {database}: {attempt}: {told:?}");
        }
        reader
            .execute("SELECT * FROM analytics.events WHERE public.leak(tenant_id)")
            .await
            .unwrap();
        // The same function is given rows that it would tell of where the reader may see them.
        if database != "shard_0" {
            let mut other = platform.connect(database, "wine_analyst", &wine).await;
            let told = other
                .execute("SELECT * FROM analytics.events WHERE public.leak(tenant_id)")
                .await;
            assert!(told.unwrap_err().to_string().contains("seen: wine"), "in {database}");
        }
        let secrets = sqlx::query_scalar("SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL");
        let secrets: i64 = secrets.fetch_one(&mut reader).await.unwrap();
        assert_eq!(secrets, 0, "in {database}");
    }
}

/// The harness sees what a view without its barrier would give away.
#[tokio::test(flavor = "multi_thread")]
async fn planted_a_view_that_is_no_barrier_is_noticed() {
    let platform = Platform::start().await;
    set_up(&platform.databases).await.unwrap();
    let password = platform.grant("wine_analyst", "wine").await;
    let mut owner = platform.owner("shard_1").await;
    owner
        .execute("ALTER VIEW analytics.events RESET (security_barrier)")
        .await
        .unwrap();
    let mut reader = platform.connect("shard_1", "wine_analyst", &password).await;
    owner
        .execute(
            "CREATE FUNCTION leak(tenant text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS \
             $$ BEGIN IF tenant <> 'wine' THEN RAISE EXCEPTION 'seen: %', tenant; END IF; RETURN true; END $$",
        )
        .await
        .unwrap();
    // Both tenants' rows are in one scan only where no index on the slot is used.
    reader
        .execute("SET enable_indexscan = off; SET enable_bitmapscan = off")
        .await
        .unwrap();
    let told = reader
        .execute("SELECT * FROM analytics.events WHERE public.leak(tenant_id)")
        .await;
    assert!(told.unwrap_err().to_string().contains("seen: cheese"));
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_tenants_reader_then_the_shards_send_that_tenants_events_only() {
    let platform = Platform::start().await;
    set_up(&platform.databases).await.unwrap();
    let password = platform.grant("bread_analyst", "bread").await;
    let mut reader = platform.connect("read_store", "bread_analyst", &password).await;
    let plan: Vec<String> = sqlx::query_scalar("EXPLAIN (VERBOSE) SELECT count(*) FROM analytics.events")
        .fetch_all(&mut reader)
        .await
        .unwrap();
    let remote: Vec<&String> = plan.iter().filter(|line| line.contains("Remote SQL")).collect();
    assert_eq!(remote.len(), 2, "{plan:#?}");
    assert!(
        remote
            .iter()
            .all(|sql| sql.contains("slot = ANY") && sql.contains("tenant_id =")),
        "{plan:#?}"
    );
}
