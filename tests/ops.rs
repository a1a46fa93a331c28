//! The operators' HTTP API on a running platform: who may use it, and that what it is told to do happens.

use std::time::Duration;

use serde_json::{Value, json};

use crate::refusals::forgeries;
use crate::support::checker::Log;
use crate::support::client::{Answer, Client};
use crate::support::eventually;
use crate::support::load::Load;
use crate::support::platform::Platform;
use crate::support::topology::Topology;

const IN_TIME: Duration = Duration::from_secs(60);

fn operator(on: &dyn Topology) -> Client {
    Client::new(on.url(), &on.token(&["--tenant", "dev", "--scope", "ops"]))
}

/// The routes of the document, with something in place of each parameter.
async fn routes(on: &dyn Topology) -> Vec<(String, String)> {
    let document = reqwest::get(format!("{}/ops/openapi.json", on.url()))
        .await
        .expect("an answer");
    let document: Value = document.json().await.expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path
            .replace("{read_model}", "orders")
            .replace("{id}", "1")
            .replace("{generation}", "7");
        for method in item
            .as_object()
            .expect("operations")
            .keys()
            .filter(|key| *key != "parameters")
        {
            routes.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(routes.len() >= 12, "{routes:?}");
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_scope_ops_opens_the_operators_routes() {
    let platform = Platform::start().await;
    let everything_else = platform.client("dev");
    let good = platform.token(&["--tenant", "dev", "--scope", "ops"]);
    for (method, path) in routes(&platform).await {
        let request = |client: &Client| client.request(&method, &path).json(&json!({}));
        for (name, token) in forgeries(&good) {
            let answer = Client::send(request(&Client::new(platform.url(), &token))).await;
            assert_eq!(answer.status, 401, "{name} at {method} {path}: {}", answer.body);
        }
        let answer = Client::send(request(&everything_else)).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body["code"], "missing_scope");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_order_over_http_happens() {
    let platform = Platform::start().await;
    let load = Load::prepare(&platform, "ops", 4).await;
    load.run(200, 4).await;
    load.settle().await;
    let operator = operator(&platform);

    let status = ok(operator.get("/ops/v1/status").await);
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(4), "{status}");
    let findings = ok(operator.get("/ops/v1/doctor").await);
    assert!(
        !findings
            .as_array()
            .expect("findings")
            .iter()
            .any(|it| it["verdict"] == "wrong"),
        "{findings}"
    );

    rebuilds_and_rolls_back(&operator).await;
    verifies(&operator).await;
    moves_a_slot(&operator).await;
    assert_eq!(ok(operator.get("/ops/v1/parked").await), json!([]));
    let retried = ok(operator.post("/ops/v1/parked/retry", &json!({})).await);
    assert_eq!(retried["freed_streams"], 0);

    let log = Log::read(platform.databases()).await;
    log.await_caught_up(platform.databases()).await;
    let differences = log.differences(platform.databases()).await;
    assert!(differences.is_empty(), "{differences:?}");
}

async fn rebuilds_and_rolls_back(operator: &Client) {
    let unknown = operator
        .post("/ops/v1/projections/rebuild", &json!({"read_models": ["nothing"]}))
        .await;
    assert_eq!(
        (unknown.status, &unknown.body["code"]),
        (422, &json!("unknown_read_model"))
    );

    let begun = operator
        .post("/ops/v1/projections/rebuild", &json!({"read_models": ["orders"]}))
        .await;
    assert_eq!(
        (begun.status, &begun.body),
        (202, &json!([{"read_model": "orders", "generation": 2}]))
    );
    eventually(IN_TIME, || async {
        let listed = ok(operator.get("/ops/v1/projections").await);
        let served = listed
            .as_array()
            .expect("generations")
            .iter()
            .any(|it| it["read_model"] == "orders" && it["generation"] == 2 && it["served"] == true);
        if served { Ok(()) } else { Err(listed.to_string()) }
    })
    .await;
    let back = ok(operator.post("/ops/v1/projections/orders/rollback", &json!({})).await);
    assert_eq!((&back["from"], &back["to"]), (&json!(2), &json!(1)));
    let again = ok(operator
        .post("/ops/v1/projections/orders/switch", &json!({"to": 2}))
        .await);
    assert_eq!(again["to"], 2);
    let drop = |generation| format!("/ops/v1/projections/orders/generations/{generation}");
    let served = Client::send(operator.request("DELETE", &drop(2))).await;
    assert_eq!(
        (served.status, &served.body["code"]),
        (409, &json!("generation_in_use"))
    );
    let dropped = Client::send(operator.request("DELETE", &drop(1))).await;
    assert_eq!(dropped.status, 202, "{}", dropped.body);
    let nowhere = operator
        .post("/ops/v1/projections/orders/switch", &json!({"to": 9}))
        .await;
    assert_eq!(
        (nowhere.status, &nowhere.body["code"]),
        (404, &json!("generation_not_found"))
    );
}

async fn verifies(operator: &Client) {
    assert_eq!(operator.get("/ops/v1/projections/verification").await.status, 404);
    let begun = operator.post("/ops/v1/projections/verification", &json!({})).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let report = eventually(IN_TIME, || async {
        let latest = ok(operator.get("/ops/v1/projections/verification").await);
        if latest["state"] == "done" {
            Ok(latest["report"].clone())
        } else {
            Err(latest.to_string())
        }
    })
    .await;
    assert_eq!(report["clean"], true, "{report}");
    assert!(report["rows"].as_u64() > Some(0), "{report}");
}

async fn moves_a_slot(operator: &Client) {
    let refused = operator.post("/ops/v1/moves", &json!({"slots": "1025", "to": 3})).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let nowhere = operator.post("/ops/v1/moves", &json!({"slots": "5", "to": 77})).await;
    assert_eq!((nowhere.status, &nowhere.body["code"]), (422, &json!("unknown_shard")));
    let begun = operator.post("/ops/v1/moves", &json!({"tenant": "dev", "to": 3})).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    eventually(IN_TIME, || async {
        let moves = ok(operator.get("/ops/v1/moves").await);
        let ended = moves.as_array().expect("moves").iter().all(|it| it["state"] == "done");
        if ended { Ok(()) } else { Err(moves.to_string()) }
    })
    .await;
    let proposed = ok(operator.get("/ops/v1/moves/proposed").await);
    assert!(proposed.is_array(), "{proposed}");
    assert_eq!(operator.post("/ops/v1/moves/999/undo", &json!({})).await.status, 404);
}

fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}
