//! The tenant `dev`: an establishment, a few products and, where asked for, some orders.
//!
//! Everything goes through the REST API like anybody's commands. Definitions are sent with
//! `If-None-Match: *` and orders with ids of their own, so a second start changes nothing, not
//! even what its user has changed meanwhile.

use domain::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use service::edge;
use uuid::Uuid;

use crate::rest::{Problem, Reply, Rest, RestError};

pub(crate) const TENANT: &str = "dev";
const ESTABLISHMENT: &str = "main";
/// Orders of `--demo`.
const DEMO_ORDERS: u32 = 60;
const DEMO_NAMESPACE: Uuid = Uuid::from_u128(0x91e2_5c3d_0c64_4f7e_a5b1_52a4_9b0c_7d18);

/// Id, name, category, price in cents.
const PRODUCTS: [(&str, &str, &str, i64); 4] = [
    ("margherita", "Pizza Margherita", "Pizza", 1_150),
    ("lasagne", "Lasagne", "Pasta", 1_390),
    ("tiramisu", "Tiramisu", "Dessert", 690),
    ("espresso", "Espresso", "Drinks", 320),
];

/// Why the seed is not complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
    #[error("{path} was refused: {problem}")]
    Refused { path: String, problem: Problem },
}

/// The body of the order that the banner shows.
pub(crate) fn example_order() -> Value {
    let [(pizza, ..), _, _, (espresso, ..)] = PRODUCTS;
    json!({
        "establishment_id": ESTABLISHMENT,
        "table_id": "7",
        "items": [{"product_id": pizza, "quantity": 2}, {"product_id": espresso, "quantity": 1}],
    })
}

/// Seeds what is missing, for `up`: the platform is useful without, so a failure is only told.
pub(crate) async fn seed(url: &str, token: &str, demo: bool) {
    if let Err(error) = try_seed(url, token, demo).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(
            error,
            tenant.id = TENANT,
            "the development tenant was not seeded completely"
        );
    }
}

async fn try_seed(url: &str, token: &str, demo: bool) -> Result<(), SeedError> {
    with(&Rest::new(url, token.to_owned())?, demo).await
}

/// Seeds what is missing.
pub(crate) async fn with(rest: &Rest, demo: bool) -> Result<(), SeedError> {
    let establishment = json!({"name": "Trattoria Comanda", "time_zone": "America/New_York", "currency": "USD"});
    define(rest, &format!("/v1/establishments/{ESTABLISHMENT}"), &establishment).await?;
    for (id, name, category, cents) in PRODUCTS {
        let product = json!({
            "name": name,
            "category": category,
            "price": {"amount": cents, "currency": "USD"},
            "establishment_id": ESTABLISHMENT,
        });
        define(rest, &format!("/v1/products/{id}"), &product).await?;
    }
    if demo {
        for index in 0..DEMO_ORDERS {
            place(rest, &demo_order(index, edge::now())).await?;
        }
    }
    Ok(())
}

async fn define(rest: &Rest, path: &str, body: &Value) -> Result<(), SeedError> {
    let body = Some(body.to_string().into_bytes());
    let reply = rest.send(Method::PUT, path, &[("if-none-match", "*")], body).await?;
    accepted(path, &reply, StatusCode::PRECONDITION_FAILED)
}

/// An order of another day stands there under the same id: the one of an earlier start.
async fn place(rest: &Rest, body: &Value) -> Result<(), SeedError> {
    let reply = rest
        .send(Method::POST, "/v1/orders", &[], Some(body.to_string().into_bytes()))
        .await?;
    accepted("/v1/orders", &reply, StatusCode::CONFLICT)
}

fn accepted(path: &str, reply: &Reply, already_there: StatusCode) -> Result<(), SeedError> {
    if reply.status.is_success() || reply.status == already_there {
        return Ok(());
    }
    Err(SeedError::Refused {
        path: path.to_owned(),
        problem: reply.problem(),
    })
}

/// The orders spread over the last days, a few hours apart.
fn demo_order(index: u32, now: Timestamp) -> Value {
    let dish = PRODUCTS[index as usize % 2].0;
    let extra = PRODUCTS[2 + index as usize % 2].0;
    json!({
        "id": Uuid::new_v5(&DEMO_NAMESPACE, &index.to_be_bytes()),
        "establishment_id": ESTABLISHMENT,
        "table_id": (index % 12 + 1).to_string(),
        "channel": "demo",
        "placed_at": now.plus_seconds(-3 * 60 * 60 * i64::from(index)),
        "items": [{"product_id": dish, "quantity": index % 3 + 1}, {"product_id": extra, "quantity": 1}],
    })
}
