//! A read store with rows in it, and the router over it.

#![allow(dead_code, reason = "shared with the example, which needs less of it")]
#![allow(clippy::unwrap_used, reason = "what fails here ends the test that needs it")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use domain::{ActorId, EstablishmentId, TenantId};
use event_store::Slot;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use query_api::{PoolOptions, Progress, QueryApi, ReadStores};
use serde_json::{Value, json};
use service::auth::{Issuer, TokenRequest};
use service::settings::{AuthSettings, KeyAlgorithm, KeySettings, QuerySettings, Secret};
use service::{Scope, Verifier};
use sqlx::{Connection, PgConnection, PgPool};
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) const MODELS: [&str; 5] = ["orders", "order_timeline", "daily_sales", "products", "establishments"];

pub(crate) struct World {
    pub(crate) url: String,
    /// For filling in rows; the router has its own.
    pub(crate) pool: PgPool,
    pub(crate) router: Router,
    issuer: Issuer,
    auth: AuthSettings,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The data of an answer without errors.
    pub(crate) fn data(&self) -> Value {
        let mut body = self.json();
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert!(body.get("errors").is_none(), "{}", self.text);
        body["data"].take()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the only error.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        assert_eq!(body["errors"].as_array().map_or(0, Vec::len), 1, "{}", self.text);
        body["errors"][0]["extensions"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

pub(crate) fn auth_settings() -> AuthSettings {
    let key = KeySettings {
        kid: None,
        algorithm: KeyAlgorithm::Hs256,
        secret: Some(Secret::new("a secret of the query tests, long enough to sign with")),
        secret_file: None,
        public_key_file: None,
    };
    AuthSettings {
        keys: vec![key],
        ..AuthSettings::default()
    }
}

pub(crate) fn verifier() -> Arc<Verifier> {
    Arc::new(Verifier::new(&auth_settings()).unwrap())
}

/// Short waits, so that tests of what does not happen end soon.
pub(crate) fn quick() -> QuerySettings {
    QuerySettings {
        position_wait_ms: 100,
        position_poll_ms: 5,
        ..QuerySettings::default()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(QuerySettings::default()).await
    }

    pub(crate) async fn with(settings: QuerySettings) -> Self {
        Self::on(local_postgres::testing::fresh_database().await, settings).await
    }

    /// On a database that exists and is empty.
    pub(crate) async fn on(url: String, settings: QuerySettings) -> Self {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        migrations::migrate(migrations::Database::ReadStore, &mut connection)
            .await
            .unwrap();
        for model in MODELS {
            create_generation(&mut connection, model, 1).await;
        }
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(2)
            .connect(&url)
            .await
            .unwrap();
        let router = query_api::router(api(&url, &settings));
        let auth = auth_settings();
        Self {
            url,
            pool,
            router,
            issuer: Issuer::new(&auth).unwrap(),
            auth,
        }
    }

    pub(crate) fn api(&self, settings: &QuerySettings) -> QueryApi {
        api(&self.url, settings)
    }

    /// The same rows behind a router that is told of progress.
    pub(crate) fn told_by(&self, settings: &QuerySettings, progress: impl Progress) -> Router {
        query_api::router(self.api(settings).with_progress(progress))
    }

    pub(crate) fn token(&self, tenant: &str) -> String {
        self.token_for(tenant, None, &[Scope::OrdersRead])
    }

    pub(crate) fn token_for(&self, tenant: &str, establishments: Option<&[&str]>, scopes: &[Scope]) -> String {
        let ids =
            |names: &[&str]| -> BTreeSet<_> { names.iter().map(|name| EstablishmentId::new(name).unwrap()).collect() };
        let request = TokenRequest {
            tenant: TenantId::new(tenant).unwrap(),
            subject: ActorId("tester".to_owned()),
            scopes: scopes.iter().copied().collect(),
            establishments: establishments.map(ids),
            ttl: Duration::from_secs(3_600),
        };
        self.issuer.issue(&request, service::edge::now()).unwrap()
    }

    /// A query of a tenant's, as most clients send it.
    pub(crate) async fn query(&self, tenant: &str, query: &str, variables: Value) -> Answer {
        self.query_as(&self.token(tenant), query, variables).await
    }

    pub(crate) async fn query_as(&self, token: &str, query: &str, variables: Value) -> Answer {
        send(
            &self.router,
            post(token, &json!({ "query": query, "variables": variables })),
        )
        .await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(sql)
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    pub(crate) async fn checkpoint(&self, tenant: &str, model: &str, incarnation: i32, position: i64) {
        let slot = i32::from(slot(tenant).0);
        sqlx::query(
            "UPDATE meta.checkpoints SET incarnation = $3, slot_position = $4 WHERE read_model = $1 AND slot = $2",
        )
        .bind(model)
        .bind(slot)
        .bind(incarnation)
        .bind(position)
        .execute(&self.pool)
        .await
        .unwrap();
    }
}

fn api(url: &str, settings: &QuerySettings) -> QueryApi {
    let options = PoolOptions {
        max_connections: 4,
        ..PoolOptions::default()
    };
    let stores = ReadStores::connect([("main".to_owned(), url)], &options).unwrap();
    QueryApi::new(stores, verifier(), settings)
}

pub(crate) async fn create_generation(connection: &mut PgConnection, model: &str, generation: i32) {
    let schema = format!("{model}_g{generation}");
    let sql = format!(
        "SELECT meta.create_{model}('{schema}');
         INSERT INTO meta.generations (read_model, generation, schema_name, code_version)
             VALUES ('{model}', {generation}, '{schema}', 1);
         INSERT INTO meta.read_models (read_model, generation) VALUES ('{model}', {generation})
             ON CONFLICT (read_model) DO UPDATE SET generation = excluded.generation;
         INSERT INTO meta.checkpoints (read_model, generation, slot)
             SELECT '{model}', {generation}, slot FROM generate_series(0, 1023) AS slot;"
    );
    sqlx::raw_sql(&sql).execute(connection).await.unwrap();
}

pub(crate) fn slot(tenant: &str) -> Slot {
    Slot::of(&TenantId::new(tenant).unwrap())
}

pub(crate) fn post(token: &str, body: &Value) -> Request<Body> {
    Request::post("/graphql")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/graphql-response+json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

pub(crate) fn request(method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("every answer is UTF-8");
    Answer {
        status: parts.status,
        headers: parts.headers,
        text,
    }
}

/// An order row with everything in it; change what a test is about.
#[derive(Debug, Clone)]
pub(crate) struct OrderRow {
    pub(crate) tenant: String,
    pub(crate) id: Uuid,
    pub(crate) establishment: String,
    pub(crate) number: i64,
    pub(crate) status: String,
    /// Microseconds since 2026-01-01T00:00:00Z.
    pub(crate) placed_at: i64,
    /// In every text of the order.
    pub(crate) word: String,
}

impl OrderRow {
    pub(crate) fn new(tenant: &str, number: i64) -> Self {
        Self {
            tenant: tenant.to_owned(),
            id: Uuid::from_u128(u128::from(number.unsigned_abs())),
            establishment: "main".to_owned(),
            number,
            status: "placed".to_owned(),
            placed_at: number * 1_000_000,
            word: "plain".to_owned(),
        }
    }

    pub(crate) async fn insert(&self, world: &World) {
        let items = json!([
            { "line_id": "1", "product_id": "espresso", "name": format!("Espresso {}", self.word), "quantity": 2,
              "unit_price": 250, "line_total": 600, "note": format!("hot {}", self.word),
              "modifiers": [{ "modifier_id": "oat", "name": format!("Oat {}", self.word), "price": 50 }] },
            { "line_id": "2", "name": "Open item", "quantity": 1, "unit_price": 400, "modifiers": [], "line_total": 400 },
        ]);
        sqlx::query(
            "INSERT INTO orders_g1.orders (tenant_id, order_id, establishment_id, number, business_date, reference,
                 status, service_type, channel, table_id, currency, subtotal, discount, tax, tip, total, item_count,
                 items, customer_id, customer_name, customer_contact, note, placed_at, updated_at, version)
             VALUES ($1, $2, $3, $4, '2026-01-31', 'ref ' || $5, $6, 'dine_in', 'pos ' || $5, 'T1', 'EUR', 1000, 100,
                 82, 50, 950, 3, $7, 'cust', 'Ada ' || $5, '+49 ' || $5, 'note ' || $5,
                 timestamptz '2026-01-01 00:00:00Z' + $8 * interval '1 microsecond', '2026-02-01T10:00:00Z', 2)",
        )
        .bind(&self.tenant)
        .bind(self.id)
        .bind(&self.establishment)
        .bind(self.number)
        .bind(&self.word)
        .bind(&self.status)
        .bind(items)
        .bind(self.placed_at)
        .execute(&world.pool)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO order_timeline_g1.entries (tenant_id, order_id, sequence, event_type, from_status, status,
                 reason, actor, occurred_at, recorded_at)
             VALUES ($1, $2, 2, 'OrderStatusChanged', 'placed', $3, 'other', 'actor ' || $4, '2026-01-31T12:00:01Z',
                 '2026-01-31T12:00:02Z'),
                    ($1, $2, 1, 'OrderCreated', NULL, 'placed', NULL, 'actor ' || $4, '2026-01-31T12:00:00Z',
                 '2026-01-31T12:00:00.5Z')",
        )
        .bind(&self.tenant)
        .bind(self.id)
        .bind(&self.status)
        .bind(&self.word)
        .execute(&world.pool)
        .await
        .unwrap();
    }
}

pub(crate) async fn insert_catalogue(world: &World, tenant: &str, word: &str) {
    world
        .execute(&format!(
            "INSERT INTO establishments_g1.establishments VALUES
                 ('{tenant}', 'main', 'Main {word}', 'Europe/Rome', 'EUR', 'inclusive', 100000, 'restaurant', 1, '2026-01-01Z'),
                 ('{tenant}', 'side', 'Side {word}', 'Europe/Rome', 'EUR', 'additive', 88750, 'retail', 3, '2026-01-01Z');
             INSERT INTO products_g1.products VALUES
                 ('{tenant}', 'espresso', NULL, 'Espresso {word}', 'Coffee', 250, 'EUR', true,
                     '[{{\"id\": \"oat\", \"name\": \"Oat {word}\", \"price\": 50}}]', 1, '2026-01-01Z'),
                 ('{tenant}', 'main-only', 'main', 'Main only {word}', NULL, 300, 'EUR', false, '[]', 2, '2026-01-01Z'),
                 ('{tenant}', 'side-only', 'side', 'Side only {word}', 'Coffee', 350, 'EUR', true, '[]', 1, '2026-01-01Z');
             INSERT INTO daily_sales_g1.days VALUES
                 ('{tenant}', 'main', '2026-01-30', 'EUR', 4, 4250, 2),
                 ('{tenant}', 'main', '2026-01-31', 'EUR', 3, 1000, 1),
                 ('{tenant}', 'main', '2026-02-01', 'EUR', 0, 0, 0),
                 ('{tenant}', 'side', '2026-01-31', 'EUR', 1, 77777, 1);"
        ))
        .await;
}
