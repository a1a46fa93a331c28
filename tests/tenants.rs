//! A token of one tenant never yields another tenant's data (G11).

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::load::{ESTABLISHMENT, Load, PRODUCT};
use crate::support::platform::Platform;
use crate::support::topology::Topology;

const CANARY: &str = "canary-7f3a";

async fn plant(client: &Client) -> (String, String) {
    let body = json!({
        "establishment_id": ESTABLISHMENT, "reference": CANARY, "note": CANARY,
        "customer": {"id": CANARY, "name": CANARY},
        "items": [{"product_id": PRODUCT, "quantity": 3, "note": CANARY}],
    });
    let created = client.post("/v1/orders", &body).await;
    assert_eq!(created.status, 201, "{}", created.body);
    let id = created.body["id"].as_str().expect("an id").to_owned();
    (id, created.header("comanda-position").expect("a position").to_owned())
}

const EVERYTHING: &str = "
  query($order: ID!, $establishment: ID!) {
    order(id: $order) { ...whole }
    byNumber: orderByNumber(establishmentId: $establishment, date: \"2026-01-01\", number: 1) { ...whole }
    orders(establishmentId: $establishment, first: 50) { edges { cursor node { ...whole } } }
    dailySales(establishmentId: $establishment, from: \"2025-01-01\", to: \"2027-12-31\") { date orders uniqueCustomers }
    products(establishmentId: $establishment) { edges { node { key name } } }
    establishments { edges { node { key name } } }
  }
  fragment whole on Order { id key reference customer { name } items { name note } timeline { type } }";

#[tokio::test(flavor = "multi_thread")]
async fn no_route_argument_or_cursor_of_one_tenant_shows_another_tenants_data() {
    strangers(&Platform::start().await).await;
}

pub(crate) async fn strangers(platform: &dyn Topology) {
    let load = Load::prepare(platform, "iso", 2).await;
    let (owner, stranger) = (&load.clients[0], &load.clients[1]);
    let (order, position) = plant(owner).await;

    // Given: the owner sees the canary, so the query would show it
    let variables = json!({"order": order, "establishment": ESTABLISHMENT});
    let request = owner.request("POST", "/graphql").header("comanda-position", &position);
    let request = request.json(&json!({"query": EVERYTHING, "variables": variables}));
    let own = Client::send(request).await;
    assert!(own.body.to_string().contains(CANARY), "{}", own.body);
    let global_id = own.body["data"]["order"]["id"].as_str().expect("an id").to_owned();
    let cursor = own.body["data"]["orders"]["edges"][0]["cursor"]
        .as_str()
        .expect("a cursor")
        .to_owned();

    // Then: the stranger sees nothing of it, by key, global id, cursor, filter, list or log
    let mut answers = vec![
        stranger.query(EVERYTHING, variables).await,
        stranger
            .query(EVERYTHING, json!({"order": global_id, "establishment": ESTABLISHMENT}))
            .await,
        stranger
            .query(
                "query($id: ID!) { node(id: $id) { id ... on Order { reference } } }",
                json!({"id": global_id}),
            )
            .await,
    ];
    let page = "query($e: ID!, $after: String, $text: String) {
        orders(establishmentId: $e, first: 10, after: $after, filter: {text: $text}) {
            totalCount edges { node { key reference } } } }";
    for variables in [
        json!({"e": ESTABLISHMENT, "after": cursor}),
        json!({"e": ESTABLISHMENT, "text": CANARY}),
    ] {
        answers.push(stranger.query(page, variables).await);
    }
    for path in [
        format!("/v1/orders/{order}"),
        format!("/v1/orders/{order}/events"),
        format!("/v1/events?order_id={order}"),
        "/v1/events".to_owned(),
        format!("/v1/events?after={position}"),
    ] {
        answers.push(stranger.get(&path).await);
    }
    for answer in answers {
        let text = format!("{:?} {}", answer.headers, answer.body);
        assert!(!text.contains(CANARY), "leaked: {text}");
        assert!(answer.status < 500, "{text}");
    }
    let count = stranger.query(page, json!({"e": ESTABLISHMENT})).await;
    assert_eq!(
        count.body["data"]["orders"]["totalCount"],
        Value::from(0),
        "{}",
        count.body
    );
}
