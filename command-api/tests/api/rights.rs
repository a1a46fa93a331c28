//! Who may do what: tokens, scopes, establishments, tenants.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use service::auth::Scope;

use crate::support::{Api, Platform, eur, small_order};

const ORDER: &str = "0198c0de-0000-7000-8000-000000000001";

/// Every route with the scope it asks for and a body it would take.
fn routes() -> Vec<(Method, String, Scope, Option<Value>)> {
    let establishment = json!({"name": "Roma", "time_zone": "Europe/Rome", "currency": "EUR"});
    let product = json!({"name": "Tea", "price": eur(1)});
    vec![
        (
            Method::POST,
            "/v1/orders".into(),
            Scope::OrdersWrite,
            Some(small_order()),
        ),
        (
            Method::POST,
            "/v1/orders/batch".into(),
            Scope::OrdersWrite,
            Some(json!({"orders": [{"idempotency_key": "k", "order": small_order()}]})),
        ),
        (
            Method::POST,
            "/v1/orders/quote".into(),
            Scope::OrdersWrite,
            Some(small_order()),
        ),
        (Method::GET, format!("/v1/orders/{ORDER}"), Scope::OrdersRead, None),
        (
            Method::GET,
            format!("/v1/orders/{ORDER}/events"),
            Scope::OrdersRead,
            None,
        ),
        (
            Method::POST,
            format!("/v1/orders/{ORDER}/status"),
            Scope::OrdersWrite,
            Some(json!({"status": "accepted"})),
        ),
        (
            Method::PUT,
            "/v1/establishments/roma".into(),
            Scope::CatalogWrite,
            Some(establishment),
        ),
        (Method::GET, "/v1/establishments/roma".into(), Scope::OrdersRead, None),
        (
            Method::PUT,
            "/v1/products/tea".into(),
            Scope::CatalogWrite,
            Some(product),
        ),
        (Method::GET, "/v1/products/tea".into(), Scope::OrdersRead, None),
        (
            Method::POST,
            "/v1/products/tea/availability".into(),
            Scope::CatalogWrite,
            Some(json!({"available": true})),
        ),
        (Method::GET, "/v1/events".into(), Scope::EventsRead, None),
    ]
}

/// Tokens that nobody should be let in with.
fn forgeries(api: &Api) -> Vec<(&'static str, String)> {
    let good = api.token("acme", &Scope::ALL, None);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("{good}")
    };
    let other = api.token("other", &Scope::ALL, None);
    let other_claims = other.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    // {"alg":"RS256","typ":"JWT"}
    let rs256 = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    vec![
        ("nothing", String::new()),
        ("not a token", "secret".to_owned()),
        ("two parts", format!("{header}.{claims}")),
        ("no signature", format!("{header}.{claims}.")),
        ("algorithm none", format!("{none}.{claims}.")),
        ("algorithm none, signed", format!("{none}.{claims}.{signature}")),
        ("another algorithm", format!("{rs256}.{claims}.{signature}")),
        (
            "another tenant's claims",
            format!("{header}.{other_claims}.{signature}"),
        ),
        ("a cut signature", good[..good.len() - 2].to_owned()),
        ("expired", expired(api)),
    ]
}

fn expired(api: &Api) -> String {
    use domain::{ActorId, TenantId};
    let request = service::auth::TokenRequest {
        tenant: TenantId::new("acme").unwrap(),
        subject: ActorId("waiter-1".to_owned()),
        scopes: Scope::ALL.into_iter().collect(),
        establishments: None,
        ttl: Duration::from_secs(60),
    };
    api.issuer
        .issue(&request, service::edge::now().plus_seconds(-3_600))
        .unwrap()
}

#[tokio::test]
async fn given_a_token_that_is_not_accepted_then_every_route_answers_401() {
    let api = Platform::start().await.api().await;
    for (method, path, _, body) in routes() {
        let body = body.unwrap_or_default();
        let anonymous = api.client("acme").anonymous();
        let answer = anonymous.with(method.clone(), &path, &[], &body).await;
        answer.assert_problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").is_some());
        // Bodies are not looked at before the caller is known.
        let answer = anonymous.send(method.clone(), &path, &[], Body::from("{")).await;
        answer.assert_problem(401, "unauthenticated");
        for (forgery, token) in forgeries(&api) {
            let answer = api.client_with(token).with(method.clone(), &path, &[], &body).await;
            assert_eq!(answer.status, 401, "{forgery}: {method} {path}: {}", answer.text);
            assert!(answer.header("www-authenticate").is_some());
        }
    }
}

#[tokio::test]
async fn given_every_scope_but_the_one_asked_for_then_403_whatever_the_body() {
    let api = Platform::start().await.api().await;
    for (method, path, asked, body) in routes() {
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| *scope != asked).collect();
        let client = api.client_with(api.token("acme", &others, None));
        let answer = client.with(method.clone(), &path, &[], &body.unwrap_or_default()).await;
        assert_eq!(
            answer.assert_problem(403, "missing_scope")["scope"],
            asked.as_str(),
            "{method} {path}"
        );
        let answer = client.send(method.clone(), &path, &[], Body::from("{")).await;
        answer.assert_problem(403, "missing_scope");
    }
}

#[tokio::test]
async fn given_a_price_of_the_client_s_own_then_another_scope_is_asked_for() {
    let api = Platform::start().await.api().await;
    api.furnished("acme").await;
    let waiter = api.client_with(api.token("acme", &[Scope::OrdersWrite], None));
    let open = json!({"name": "Free lunch", "unit_price": eur(0), "quantity": 1});
    let modified = json!({"product_id": "pizza", "quantity": 1, "modifiers": [{"name": "Gold", "price": eur(0)}]});
    for item in [open, modified] {
        let body = json!({"establishment_id": "roma", "items": [item]});
        assert_eq!(
            waiter.order(&body).await.assert_problem(403, "missing_scope")["scope"],
            "catalog:write"
        );
    }
}

#[tokio::test]
async fn given_a_token_of_another_establishment_then_403() {
    let api = Platform::start().await.api().await;
    let owner = api.furnished("acme").await;
    let id = owner.placed().await;
    let limited = api.client_with(api.token("acme", &Scope::ALL, Some(&["milano"])));
    let forbidden = |answer: crate::support::Answer| {
        answer.assert_problem(403, "establishment_forbidden");
    };
    forbidden(limited.order(&small_order()).await);
    forbidden(limited.get(&format!("/v1/orders/{id}")).await);
    forbidden(limited.get(&format!("/v1/orders/{id}/events")).await);
    forbidden(limited.status(&id, &[], &json!({"status": "accepted"})).await);
    forbidden(limited.get("/v1/establishments/roma").await);
    forbidden(limited.get("/v1/products/pizza").await);
    let product = json!({"name": "Pizza", "price": eur(1), "establishment_id": "milano"});
    forbidden(limited.put("/v1/products/pizza", &product).await);
    forbidden(
        limited
            .post("/v1/products/pizza/availability", &json!({"available": false}))
            .await,
    );
    // What is sold everywhere is for tokens that reach everywhere; it may be read by all.
    forbidden(
        limited
            .put("/v1/products/espresso", &json!({"name": "E", "price": eur(1)}))
            .await,
    );
    forbidden(
        limited
            .post("/v1/products/espresso/availability", &json!({"available": false}))
            .await,
    );
    assert_eq!(limited.get("/v1/products/espresso").await.status, 200);
    assert_eq!(owner.get(&format!("/v1/orders/{id}")).await.json()["version"], 1);
}

/// Every route, asked by another tenant for what this one has: nothing of it comes back, and
/// nothing of it changes.
#[tokio::test]
async fn given_another_tenant_then_nothing_of_this_one_is_ever_shown() {
    const CANARY: &str = "canary-4711";
    let platform = Platform::start().await;
    let api = platform.api().await;
    let owner = api.furnished("acme").await;
    let mut body = small_order();
    body["reference"] = json!(CANARY);
    body["note"] = json!(CANARY);
    let placed = owner.order_with_key("k-1", &body).await;
    let id = placed.json()["id"].as_str().unwrap().to_owned();
    let secret = json!({"name": CANARY, "price": eur(1)});
    owner.put("/v1/products/secret", &secret).await;
    let before = platform.count_events().await;

    let stranger = api.client("stranger");
    let token = placed.header("comanda-position").unwrap();
    let reads = [
        format!("/v1/orders/{id}"),
        format!("/v1/orders/{id}/events"),
        "/v1/products/secret".to_owned(),
        "/v1/establishments/roma".to_owned(),
    ];
    for path in reads {
        let answer = stranger.get(&path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text.contains(CANARY));
        let answer = stranger
            .send(Method::GET, &path, &[("if-none-match", "*")], Body::empty())
            .await;
        assert_eq!(answer.status, 404, "{path}");
    }
    for query in [
        String::new(),
        format!("?order_id={id}"),
        "?establishment_id=roma".to_owned(),
    ] {
        let answer = stranger.get(&format!("/v1/events{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{query}");
    }
    stranger
        .get(&format!("/v1/events?after={token}"))
        .await
        .assert_problem(400, "invalid_cursor");
    let accept = json!({"status": "accepted"});
    for headers in [vec![], vec![("if-match", "\"1\"")], vec![("idempotency-key", "k-1")]] {
        stranger
            .status(&id, &headers, &accept)
            .await
            .assert_problem(404, "order_not_found");
    }
    let order = json!({"establishment_id": "roma", "items": [{"product_id": "secret", "quantity": 1}]});
    let answer = stranger.order_with_key("k-1", &order).await;
    answer.assert_problem(422, "unknown_establishment");
    assert!(!answer.text.contains(CANARY));
    assert_eq!(platform.count_events().await, before);
}
