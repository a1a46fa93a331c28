//! What the read store holds.

use std::collections::BTreeMap;
use std::time::Duration;

use event_store::PositionToken;
use projector::Progress;
use serde_json::Value;
use sqlx::PgPool;

/// Every table of the read models with its key; times as text, so that they compare.
const TABLES: [(&str, &str, &str); 7] = [
    ("orders_g1.orders", "tenant_id, order_id", "placed_at,updated_at"),
    (
        "order_timeline_g1.entries",
        "tenant_id, order_id, sequence",
        "occurred_at,recorded_at",
    ),
    ("daily_sales_g1.days", "tenant_id, establishment_id, business_date", ""),
    ("daily_sales_g1.contributions", "tenant_id, order_id", ""),
    (
        "daily_sales_g1.customers",
        "tenant_id, establishment_id, business_date, customer_id",
        "",
    ),
    ("products_g1.products", "tenant_id, product_id", "updated_at"),
    (
        "establishments_g1.establishments",
        "tenant_id, establishment_id",
        "updated_at",
    ),
];

/// Rows of each table, in key order.
pub(crate) type Tables = BTreeMap<&'static str, Vec<Value>>;

pub(crate) async fn all(pool: &PgPool) -> Tables {
    let mut tables = Tables::new();
    for (table, key, times) in TABLES {
        tables.insert(table, of_table(pool, table, key, times).await);
    }
    tables
}

/// The same of another generation, under the names of the first, so that they compare.
pub(crate) async fn of_generation(pool: &PgPool, number: i32) -> Tables {
    let mut tables = Tables::new();
    for (table, key, times) in TABLES {
        let there = table.replace("_g1.", &format!("_g{number}."));
        tables.insert(table, of_table(pool, &there, key, times).await);
    }
    tables
}

/// One hash over every row of a generation, byte for byte.
pub(crate) async fn hash_of(pool: &PgPool, number: i32) -> String {
    let mut parts = vec![];
    for (table, key, _) in TABLES {
        let there = table.replace("_g1.", &format!("_g{number}."));
        parts.push(format!(
            "(SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY {key}), '')) FROM {there} AS t)"
        ));
    }
    sqlx::query_scalar(&format!("SELECT md5({})", parts.join(" || ")))
        .fetch_one(pool)
        .await
        .expect("a hash")
}

async fn of_table(pool: &PgPool, table: &str, key: &str, times: &str) -> Vec<Value> {
    let mut row = "to_jsonb(t) - 'search'".to_owned();
    for time in times.split(',').filter(|time| !time.is_empty()) {
        row.push_str(&format!(
            " || jsonb_build_object('{time}', \
             to_char(t.{time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
        ));
    }
    let collated = key
        .replace("_id", "_id COLLATE \"C\"")
        .replace("order_id COLLATE \"C\"", "order_id");
    let sql = format!("SELECT {row} FROM {table} AS t ORDER BY {collated}");
    sqlx::query_scalar(&sql).fetch_all(pool).await.expect("rows")
}

/// One hash over every row and checkpoint, byte for byte.
pub(crate) async fn hash(pool: &PgPool) -> String {
    let mut parts = vec![];
    for (table, key, _) in TABLES {
        parts.push(format!(
            "(SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY {key}), '')) FROM {table} AS t)"
        ));
    }
    parts.push(
        "(SELECT md5(string_agg(c::text, E'\\n' ORDER BY read_model, slot)) FROM meta.checkpoints AS c)".to_owned(),
    );
    sqlx::query_scalar(&format!("SELECT md5({})", parts.join(" || ")))
        .fetch_one(pool)
        .await
        .expect("a hash")
}

/// Whether the checkpoints of all of these read models have passed the token's event.
pub(crate) async fn have_reached(pool: &PgPool, read_models: &[&str], token: &PositionToken) -> bool {
    let reached = sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM meta.checkpoints JOIN meta.read_models USING (read_model, generation)
          WHERE read_model = ANY ($1) AND slot = $2 AND incarnation = $3 AND slot_position >= $4",
    )
    .bind(read_models)
    .bind(i32::from(token.slot.0))
    .bind(token.incarnation.0)
    .bind(token.slot_position.0);
    // One whose connections are being cut is asked again.
    let reached = reached.fetch_one(pool).await.unwrap_or(0);
    usize::try_from(reached) == Ok(read_models.len())
}

/// Waits for that as a query does: woken by commits, and looking by itself now and then, because
/// others may have written. Unbounded.
pub(crate) async fn reached(pool: &PgPool, progress: &Progress, read_models: &[&str], token: &PositionToken) {
    let (mut commits, mut look) = (progress.commits(), tokio::time::interval(Duration::from_millis(10)));
    while !have_reached(pool, read_models, token).await {
        tokio::select! {
            _ = commits.changed() => {}
            _ = look.tick() => {}
        }
    }
}

pub(crate) async fn count(pool: &PgPool, from: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM {from}"))
        .fetch_one(pool)
        .await
        .expect("a count")
}
