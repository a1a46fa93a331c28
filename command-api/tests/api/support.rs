//! A command API on a real PostgreSQL, called as a client calls it.
#![allow(dead_code, reason = "each user of this file needs its own part of it")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use command_api::CommandApi;
use domain::{ActorId, EstablishmentId, TenantId};
use event_store::{ControlOptions, EventStore, Options, ShardId, ShardOptions, Slot, UrlKept, register_shard};
use http_body_util::BodyExt as _;
use migrations::Database;
use serde_json::{Value, json};
use service::auth::{Issuer, Scope, TokenRequest, Verifier};
use service::settings::{AuthSettings, CommandSettings, HttpSettings, KeyAlgorithm, KeySettings, Secret};
use sqlx::{Connection as _, PgConnection};
use tower::ServiceExt as _;

const ERRORS: &str = include_str!("../../../docs/errors.md");

/// The databases of one platform. Several APIs can run on them, as several processes would.
pub(crate) struct Platform {
    control: String,
    pub shards: Vec<ShardOptions>,
    auth: AuthSettings,
}

impl Platform {
    pub(crate) async fn start() -> Self {
        let url = local_postgres::testing::fresh_database().await;
        let mut control = migrated(&url, Database::Control).await;
        let mut shards = Vec::new();
        for id in 0..2 {
            let url = local_postgres::testing::fresh_database().await;
            migrated(&url, Database::EventStore).await;
            shards.push(ShardOptions { id: ShardId(id), url });
        }
        event_store::bootstrap(&mut control, &shards).await.unwrap();
        let key = KeySettings {
            kid: None,
            algorithm: KeyAlgorithm::Hs256,
            secret: Some(Secret::new("a secret for tests, long enough for HS256")),
            secret_file: None,
            public_key_file: None,
        };
        let auth = AuthSettings {
            keys: vec![key],
            ..AuthSettings::default()
        };
        Self {
            control: url,
            shards,
            auth,
        }
    }

    /// One process on the platform.
    pub(crate) async fn api(&self) -> Api {
        self.api_with(CommandSettings::default()).await
    }

    pub(crate) async fn api_with(&self, settings: CommandSettings) -> Api {
        let store = EventStore::connect(self.options()).await.unwrap();
        let verifier = Arc::new(Verifier::new(&self.auth).unwrap());
        let api = CommandApi::new(store.clone(), verifier, settings);
        let router = service::http::harden(command_api::router(api.clone()), &HttpSettings::default());
        Api {
            router,
            command: api,
            store,
            issuer: Arc::new(Issuer::new(&self.auth).unwrap()),
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            shards: self.shards.clone(),
            control: Some(ControlOptions {
                url: self.control.clone(),
            }),
            placement_poll: Duration::from_millis(20),
            ..Options::default()
        }
    }

    /// Registers another shard and gives it the tenant's slot, which must be empty.
    pub(crate) async fn add_shard_for(&mut self, id: i16, tenant: &str) {
        let url = local_postgres::testing::fresh_database().await;
        let mut added = migrated(&url, Database::EventStore).await;
        let shard = ShardOptions { id: ShardId(id), url };
        let mut control = PgConnection::connect(&self.control).await.unwrap();
        register_shard(&mut control, &shard, UrlKept::InControl).await.unwrap();
        let slot = Slot::of(&TenantId::new(tenant).unwrap());
        for mut other in self.connections().await {
            let given = format!("UPDATE slots SET owned = false WHERE slot = {slot}");
            sqlx::query(&given).execute(&mut other).await.unwrap();
        }
        let taken = format!("INSERT INTO slots (slot, ownership) VALUES ({slot}, 2)");
        sqlx::query(&taken).execute(&mut added).await.unwrap();
        let placed = format!("UPDATE placement SET shard_id = {id} WHERE slot = {slot}");
        sqlx::query(&placed).execute(&mut control).await.unwrap();
        self.shards.push(shard);
    }

    /// A connection to each shard, for looking at what is stored.
    pub(crate) async fn connections(&self) -> Vec<PgConnection> {
        let mut connections = Vec::new();
        for shard in &self.shards {
            connections.push(PgConnection::connect(&shard.url).await.unwrap());
        }
        connections
    }

    pub(crate) async fn count_events(&self) -> i64 {
        let mut count = 0;
        for mut connection in self.connections().await {
            let here: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            count += here;
        }
        count
    }
}

async fn migrated(url: &str, database: Database) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.unwrap();
    migrations::migrate(database, &mut connection).await.unwrap();
    connection
}

/// One command API.
#[derive(Clone)]
pub(crate) struct Api {
    pub router: Router,
    pub command: CommandApi,
    pub store: EventStore,
    pub issuer: Arc<Issuer>,
}

impl Api {
    pub(crate) fn token(&self, tenant: &str, scopes: &[Scope], establishments: Option<&[&str]>) -> String {
        self.token_for(tenant, scopes, establishments, Duration::from_secs(3600))
    }

    pub(crate) fn token_for(
        &self,
        tenant: &str,
        scopes: &[Scope],
        establishments: Option<&[&str]>,
        ttl: Duration,
    ) -> String {
        let request = TokenRequest {
            tenant: TenantId::new(tenant).unwrap(),
            subject: ActorId("waiter-1".to_owned()),
            scopes: scopes.iter().copied().collect(),
            establishments: establishments.map(|ids| {
                ids.iter()
                    .map(|id| EstablishmentId::new(id).unwrap())
                    .collect::<BTreeSet<_>>()
            }),
            ttl,
        };
        self.issuer.issue(&request, service::edge::now()).unwrap()
    }

    /// A client of the tenant with every right.
    pub(crate) fn client(&self, tenant: &str) -> Client {
        self.client_with(self.token(tenant, &Scope::ALL, None))
    }

    pub(crate) fn client_with(&self, token: String) -> Client {
        Client {
            router: self.router.clone(),
            token: Some(token),
        }
    }

    /// A client whose establishment and products are defined: `roma` in EUR with 10 % tax in its
    /// prices, `espresso` at 1.50 and `pizza` at 9.00 with the modifier `extra-cheese` at 1.00.
    pub(crate) async fn furnished(&self, tenant: &str) -> Client {
        let client = self.client(tenant);
        let roma = json!({"name": "Roma", "time_zone": "Europe/Rome", "currency": "EUR",
                          "tax": {"mode": "inclusive", "rate_ppm": 100_000}});
        assert_eq!(client.put("/v1/establishments/roma", &roma).await.status, 201);
        let espresso = json!({"name": "Espresso", "price": eur(150)});
        assert_eq!(client.put("/v1/products/espresso", &espresso).await.status, 201);
        let pizza = json!({"name": "Pizza", "price": eur(900), "establishment_id": "roma",
                           "modifiers": [{"id": "extra-cheese", "name": "Extra cheese", "price": eur(100)}]});
        assert_eq!(client.put("/v1/products/pizza", &pizza).await.status, 201);
        client
    }
}

pub(crate) fn eur(amount: i64) -> Value {
    json!({"amount": amount, "currency": "EUR"})
}

/// The smallest order of a furnished tenant.
pub(crate) fn small_order() -> Value {
    json!({"establishment_id": "roma", "table_id": "t4", "items": [{"product_id": "espresso", "quantity": 2}]})
}

#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    token: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether it is this problem, written as problems are.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(
            ERRORS.contains(&format!("| `{code}` | {status} |")),
            "{code} is missing from docs/errors.md"
        );
        problem
    }

    /// As [`Answer::assert_problem`], and that exactly these parts of the body are named.
    #[track_caller]
    pub(crate) fn assert_faults(&self, status: u16, code: &str, pointers: &[&str]) {
        let problem = self.assert_problem(status, code);
        let named: Vec<&str> = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|fault| fault["pointer"].as_str())
            .collect();
        assert_eq!(named, pointers, "{problem}");
    }
}

impl Client {
    /// The same client without its token.
    pub(crate) fn anonymous(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    /// Sends a request; its answer may have no end.
    pub(crate) async fn open(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn with(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers: Vec<_> = headers
            .iter()
            .copied()
            .chain([("content-type", "application/json")])
            .collect();
        self.send(method, path, &headers, Body::from(body.to_string())).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.with(Method::POST, path, &[], body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.with(Method::PUT, path, &[], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub(crate) async fn order(&self, body: &Value) -> Answer {
        self.post("/v1/orders", body).await
    }

    pub(crate) async fn order_with_key(&self, key: &str, body: &Value) -> Answer {
        self.with(Method::POST, "/v1/orders", &[("idempotency-key", key)], body)
            .await
    }

    /// Places the smallest order and returns its id.
    pub(crate) async fn placed(&self) -> String {
        let answer = self.order(&small_order()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn status(&self, id: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.with(Method::POST, &format!("/v1/orders/{id}/status"), headers, body)
            .await
    }
}
