//! A log of many tenants and days, and what SQL says of it.

pub(crate) mod read;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use domain::TenantId;
use event_store::{Cursor, EventStore, LogFilter, Options, ShardId, ShardOptions, Slot};
use export::{Exported, Format, Progress, Request, Target};
use migrations::Database;
use sqlx::{Connection, PgConnection};

/// A log in databases of its own.
pub(crate) struct Log {
    pub(crate) shards: Vec<ShardOptions>,
    pub(crate) store: EventStore,
}

async fn migrated(database: Database) -> String {
    let url = local_postgres::testing::fresh_database().await;
    let mut connection = connect(&url).await;
    migrations::migrate(database, &mut connection).await.expect("migrate");
    url
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connect")
}

impl Log {
    pub(crate) async fn empty(shards: i16) -> Self {
        let mut list = Vec::new();
        for id in 0..shards {
            let url = migrated(Database::EventStore).await;
            list.push(ShardOptions { id: ShardId(id), url });
        }
        let mut control = connect(&migrated(Database::Control).await).await;
        event_store::bootstrap(&mut control, &list).await.expect("bootstrap");
        let options = Options {
            shards: list.clone(),
            ..Options::default()
        };
        let store = EventStore::connect(options).await.expect("connect");
        Self { shards: list, store }
    }

    /// Orders of `tenants`, each placed and accepted, recorded evenly over three days.
    pub(crate) async fn filled(shards: i16, tenants: usize, orders: i64) -> Self {
        let log = Self::empty(shards).await;
        log.fill(tenants, orders).await;
        log
    }

    pub(crate) async fn fill(&self, tenants: usize, orders: i64) {
        let all: Vec<TenantId> = (0..tenants).map(tenant).collect();
        for shard in &self.shards {
            let here: Vec<&TenantId> = all
                .iter()
                .filter(|it| self.store.shard_of(Slot::of(it)).is_ok_and(|owner| owner == shard.id))
                .collect();
            let share = orders * i64::try_from(here.len()).expect("few") / i64::try_from(tenants).expect("few");
            if share > 0 {
                fill(&mut connect(&shard.url).await, shard.id, &here, share).await;
            }
        }
    }

    /// What `sql` answers on each shard, added up by its first two columns.
    pub(crate) async fn sums(&self, sql: &str) -> BTreeMap<(String, String), (i64, i64)> {
        let mut sums = BTreeMap::new();
        for shard in &self.shards {
            let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql)
                .fetch_all(&mut connect(&shard.url).await)
                .await
                .expect(sql);
            for (tenant, day, events, total) in rows {
                let sum: &mut (i64, i64) = sums.entry((tenant, day)).or_default();
                *sum = (sum.0 + events, sum.1 + total);
            }
        }
        sums
    }
}

/// By tenant and day: how many events, and what the orders placed cost.
pub(crate) const SUMS: &str = "SELECT tenant_id, to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), count(*), \
    coalesce(sum((payload -> 'totals' ->> 'total')::bigint), 0)::bigint FROM events GROUP BY 1, 2";

pub(crate) fn tenant(number: usize) -> TenantId {
    TenantId::new(&format!("t{number:03}")).expect("a tenant")
}

/// Stored as `append_events` would have stored them, but for the time that it takes.
async fn fill(shard: &mut PgConnection, id: ShardId, tenants: &[&TenantId], orders: i64) {
    let names: Vec<&str> = tenants.iter().map(|it| it.as_str()).collect();
    let slots: Vec<i16> = tenants
        .iter()
        .map(|it| i16::try_from(Slot::of(it).0).expect("a slot"))
        .collect();
    sqlx::query(
        r#"WITH o AS (
            SELECT g.n, s.sequence, $1[1 + g.n % $4] AS tenant, $2[1 + g.n % $4] AS slot,
                   md5($3 || '/' || g.n)::uuid AS id, 500 + g.n * 37 % 9000 AS total,
                   timestamptz '2026-02-27 12:00Z' + interval '60 hours' * g.n / $5 + interval '1 s' * s.sequence AS at
              FROM generate_series(1, $5) AS g (n) CROSS JOIN generate_series(1, 2) AS s (sequence)
        )
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            position, slot, slot_position, recorded_at, event_id, tenant_id)
        SELECT 'order', tenant || '/' || id, sequence,
               CASE sequence WHEN 1 THEN 'OrderCreated' ELSE 'OrderStatusChanged' END, '1.0',
               CASE sequence WHEN 1 THEN format(
                   '{"type":"OrderCreated","order_id":"%s","establishment_id":"main","terms":{"kind":"restaurant","time_zone":"Europe/Rome","currency":"EUR","tax":{"mode":"inclusive","rate_ppm":100000}},"business_date":"%s","placed_at":"%s","service_type":"dine_in","table_id":"T%s","channel":"pos","customer":{"customer_id":"c-%s"},"items":[{"line_id":"1","product_id":"margherita","catalogue_version":1,"name":"Pizza \"Margherita\"","quantity":2,"unit_price":%s,"line_total":%s},{"line_id":"2","product_id":"acqua","catalogue_version":1,"name":"Acqua, 1 l","quantity":1,"unit_price":0,"line_total":0}],"totals":{"subtotal":%s,"discount":0,"tax":0,"tip":0,"total":%s}}',
                   id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   n % 20, n % 500, total / 2, total / 2 * 2, total, total)
               ELSE format('{"type":"OrderStatusChanged","order_id":"%s","from":"placed","to":"accepted","changed_at":"%s"}',
                   id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) END::json,
               format('{"tenant_id":"%s","establishment_id":"%s","actor":"till-%s","operation":"create_order","idempotency_key":"%s"%s}',
                   tenant, CASE WHEN n % 3 = 0 THEN 'annex' ELSE 'main' END, n % 7, md5(id::text || sequence),
                   CASE sequence WHEN 1 THEN format(',"number":"%s"', n) ELSE '' END)::json,
               row_number() OVER (ORDER BY n, sequence), slot,
               row_number() OVER (PARTITION BY slot ORDER BY n, sequence),
               at, md5(id::text || '/' || sequence)::uuid, tenant
          FROM o"#,
    )
    .bind(names)
    .bind(slots)
    .bind(id.to_string())
    .bind(i64::try_from(tenants.len()).expect("few"))
    .bind(orders)
    .execute(&mut *shard)
    .await
    .expect("filled");
    let heads = "UPDATE slots s SET slot_position = e.last, recorded_at = e.at \
                   FROM (SELECT slot, max(slot_position) AS last, max(recorded_at) AS at FROM events GROUP BY slot) e \
                  WHERE s.slot = e.slot";
    for sql in [
        heads,
        "UPDATE shard SET position = (SELECT coalesce(max(position), 0) FROM events)",
        "ANALYZE events",
    ] {
        sqlx::query(sql).execute(&mut *shard).await.expect(sql);
    }
}

pub(crate) fn request(format: Format) -> Request {
    Request {
        filter: LogFilter::default(),
        format,
        after: Cursor::default(),
        until: None,
    }
}

pub(crate) fn folder(path: &Path, resume: bool, round_events: u64) -> Target {
    Target::Folder {
        path: path.to_owned(),
        resume,
        round_events,
    }
}

/// Exports to the end.
pub(crate) async fn export(log: &Log, request: Request, target: Target) -> Result<Exported, export::Error> {
    let progress = Arc::new(Progress::default());
    export::export(&log.store, request, target, progress, std::future::pending()).await
}
