//! The tenant `dev`: an establishment and a few products, the same as `comanda up` makes. A second
//! time changes nothing, not even what its user has changed meanwhile.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{Error, ready};

/// Id, name, category, price in cents.
const PRODUCTS: [(&str, &str, &str, i64); 4] = [
    ("margherita", "Pizza Margherita", "Pizza", 1_150),
    ("lasagne", "Lasagne", "Pasta", 1_390),
    ("tiramisu", "Tiramisu", "Dessert", 690),
    ("espresso", "Espresso", "Drinks", 320),
];

pub(crate) async fn seed(url: &str, token: &str) -> Result<(), Error> {
    let establishment = json!({"name": "Trattoria Comanda", "time_zone": "America/New_York", "currency": "USD"});
    define(url, token, "/v1/establishments/main", &establishment).await?;
    for (id, name, category, cents) in PRODUCTS {
        let product = json!({
            "name": name,
            "category": category,
            "price": {"amount": cents, "currency": "USD"},
            "establishment_id": "main",
        });
        define(url, token, &format!("/v1/products/{id}"), &product).await?;
    }
    Ok(())
}

async fn define(url: &str, token: &str, path: &str, body: &Value) -> Result<(), Error> {
    let request = ready::client()?.put(format!("{url}{path}"));
    let request = request.bearer_auth(token).header("if-none-match", "*").json(body);
    let answer = request.send().await?;
    let status = answer.status();
    if status.is_success() || status == StatusCode::PRECONDITION_FAILED {
        return Ok(());
    }
    Err(Error::Refused {
        path: path.to_owned(),
        answer: format!("{status} {}", answer.text().await.unwrap_or_default()),
    })
}
