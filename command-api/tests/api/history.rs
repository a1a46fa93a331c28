//! Orders as they stood at a version or a time.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use service::auth::Scope;

use crate::support::{Api, Client, Platform};

/// An order that was placed, accepted and cancelled, with its answers at each version.
async fn with_a_past(api: &Api) -> (Client, String, Vec<Value>) {
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    let mut versions = vec![client.get(&format!("/v1/orders/{id}")).await.json()];
    for body in [
        json!({"status": "accepted"}),
        json!({"status": "cancelled", "reason": "customer"}),
    ] {
        let answer = client.status(&id, &[], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        versions.push(answer.json());
    }
    (client, id, versions)
}

#[tokio::test]
async fn given_a_version_or_a_time_then_the_order_is_shown_as_it_stood_then() {
    let api = Platform::start().await.api().await;
    let (client, id, versions) = with_a_past(&api).await;
    let path = format!("/v1/orders/{id}");
    for (index, then) in versions.iter().enumerate() {
        let version = index + 1;
        let answer = client.get(&format!("{path}?version={version}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(&answer.json(), then);
        assert_eq!(answer.header("etag"), Some(format!("\"{version}\"").as_str()));
        // The moment of an event includes it.
        let recorded_at = then["updated_at"].as_str().unwrap();
        assert_eq!(&client.get(&format!("{path}?as_of={recorded_at}")).await.json(), then);
    }
    let (first, last) = (&versions[0], &versions[2]);
    let statuses: Vec<_> = versions.iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["placed", "accepted", "cancelled"]);
    assert_eq!(
        &client.get(&format!("{path}?as_of=2999-01-01T00:00:00Z")).await.json(),
        last
    );
    // One microsecond before it was accepted it was still placed.
    let accepted_at: domain::Timestamp = versions[1]["updated_at"].as_str().unwrap().parse().unwrap();
    let before = domain::Timestamp::new(accepted_at.as_datetime() - std::time::Duration::from_micros(1));
    assert_eq!(&client.get(&format!("{path}?as_of={before}")).await.json(), first);
    // In another zone the time is the same.
    let zoned = accepted_at.as_datetime().to_rfc3339().replace('+', "%2B");
    assert_eq!(&client.get(&format!("{path}?as_of={zoned}")).await.json(), &versions[1]);
    let unchanged = client
        .send(
            Method::GET,
            &format!("{path}?version=2"),
            &[("if-none-match", "\"2\"")],
            Body::empty(),
        )
        .await;
    assert_eq!(unchanged.status, 304);
}

#[tokio::test]
async fn given_a_moment_at_which_it_was_not_there_then_404() {
    let api = Platform::start().await.api().await;
    let (client, id, _) = with_a_past(&api).await;
    let path = format!("/v1/orders/{id}");
    let answer = client.get(&format!("{path}?as_of=2020-01-01T00:00:00Z")).await;
    answer.assert_problem(404, "order_not_found");
    let answer = client.get(&format!("{path}?version=4")).await;
    assert_eq!(answer.assert_problem(404, "version_not_found")["version"], 3);
    let missing = "/v1/orders/0198c0de-0000-7000-8000-00000000dead?version=1";
    client.get(missing).await.assert_problem(404, "order_not_found");
}

#[tokio::test]
async fn given_a_moment_that_cannot_be_read_then_400_names_it() {
    let api = Platform::start().await.api().await;
    let (client, id, _) = with_a_past(&api).await;
    for (query, name) in [
        ("version=0", "version"),
        ("version=-1", "version"),
        ("version=last", "version"),
        ("version=", "version"),
        ("as_of=yesterday", "as_of"),
        ("as_of=2026-01-31", "as_of"),
        ("version=1&as_of=2026-01-31T12:00:00Z", "as_of"),
    ] {
        let answer = client.get(&format!("/v1/orders/{id}?{query}")).await;
        assert_eq!(
            answer.assert_problem(400, "invalid_parameter")["parameter"],
            name,
            "{query}"
        );
    }
    let answer = client.get(&format!("/v1/orders/{id}?at=1")).await;
    answer.assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn given_another_tenant_or_establishment_then_the_past_is_no_more_open_than_the_present() {
    let api = Platform::start().await.api().await;
    let (_, id, _) = with_a_past(&api).await;
    let limited = api.client_with(api.token("acme", &Scope::ALL, Some(&["milano"])));
    for query in [
        "version=1",
        "version=9",
        "as_of=2999-01-01T00:00:00Z",
        "as_of=2020-01-01T00:00:00Z",
    ] {
        let path = format!("/v1/orders/{id}?{query}");
        api.client("stranger")
            .get(&path)
            .await
            .assert_problem(404, "order_not_found");
        limited.get(&path).await.assert_problem(403, "establishment_forbidden");
    }
}
