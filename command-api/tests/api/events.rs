//! Reading the tenant's log.

use serde_json::{Value, json};
use service::auth::Scope;

use crate::support::{Answer, Client, Platform, small_order};

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Everything, by pages.
async fn read_all(client: &Client, query: &str, limit: usize) -> Vec<Value> {
    let mut events = Vec::new();
    let mut after = String::new();
    loop {
        let answer = client.get(&format!("/v1/events?limit={limit}{query}{after}")).await;
        let page = lines(&answer);
        assert!(page.len() <= limit);
        let go_on = format!("&after={}", answer.header("comanda-position").unwrap());
        if go_on == after {
            assert!(page.is_empty());
            return events;
        }
        events.extend(page);
        after = go_on;
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn given_events_when_they_are_read_by_pages_then_all_come_once_and_in_order() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    client.status(&id, &[], &json!({"status": "accepted"})).await;

    let all = lines(&client.get("/v1/events").await);

    let expected = [
        "EstablishmentDefined",
        "ProductDefined",
        "ProductDefined",
        "OrderCreated",
        "OrderStatusChanged",
    ];
    assert_eq!(types(&all), expected);
    for limit in [1, 2, 5, 1000] {
        assert_eq!(read_all(&client, "", limit).await, all, "by {limit}");
    }
    // What one event's own position goes on from is everything after it.
    let third = all[2]["position"].as_str().unwrap();
    assert_eq!(lines(&client.get(&format!("/v1/events?after={third}")).await), all[3..]);
}

#[tokio::test]
async fn given_filters_then_only_what_matches_comes() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let (id, other) = (client.placed().await, client.placed().await);
    client.status(&id, &[], &json!({"status": "accepted"})).await;

    assert_eq!(read_all(&client, "&type=OrderCreated", 1).await.len(), 2);
    let of_order = read_all(&client, &format!("&order_id={id}"), 10).await;
    assert_eq!(types(&of_order), ["OrderCreated", "OrderStatusChanged"]);
    assert!(of_order.iter().all(|event| event["aggregate_id"] == id.as_str()));
    assert_eq!(
        read_all(&client, &format!("&order_id={other}&type=OrderStatusChanged"), 10)
            .await
            .len(),
        0
    );
    assert_eq!(
        read_all(&client, "&establishment_id=roma", 10).await.len(),
        5,
        "all but the tenant-wide product"
    );
    assert_eq!(read_all(&client, "&establishment_id=milano", 10).await.len(), 0);
    let moment = of_order[1]["recorded_at"].as_str().unwrap();
    assert_eq!(
        types(&read_all(&client, &format!("&from={moment}"), 10).await),
        ["OrderStatusChanged"]
    );
    assert_eq!(read_all(&client, &format!("&to={moment}"), 10).await.len(), 5);
}

#[tokio::test]
async fn given_a_cursor_that_this_log_never_gave_then_400() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    let position = client
        .order(&small_order())
        .await
        .header("comanda-position")
        .unwrap()
        .to_owned();
    let parts: Vec<i64> = position.split('.').map(|part| part.parse().unwrap()).collect();
    let [slot, incarnation, last] = parts[..] else {
        panic!("{position}")
    };
    for cursor in [
        "x".to_owned(),
        "1".to_owned(),
        format!("{slot}.{incarnation}.{}", last + 1),
        format!("{slot}.{}.{last}", incarnation + 1),
        format!("{}.{incarnation}.0", (slot + 1) % 1024),
        format!("{slot}.{incarnation}.-1"),
        format!("{slot}.{incarnation}.9223372036854775807"),
        format!("{slot}.{incarnation}.1%27%20OR%201=1"),
        String::new(),
    ] {
        client
            .get(&format!("/v1/events?after={cursor}"))
            .await
            .assert_problem(400, "invalid_cursor");
    }
    assert_eq!(
        lines(&client.get(&format!("/v1/events?after={position}")).await).len(),
        0
    );
}

#[tokio::test]
async fn given_a_parameter_that_cannot_be_read_then_400_names_it() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("type=OrderEaten", "type"),
        ("order_id=1", "order_id"),
        ("establishment_id=a%20b", "establishment_id"),
        ("from=yesterday", "from"),
        ("to=2026-13-01T00:00:00Z", "to"),
    ] {
        let problem = client
            .get(&format!("/v1/events?{query}"))
            .await
            .assert_problem(400, "invalid_parameter");
        assert_eq!(problem["parameter"], name, "{query}");
    }
    client
        .get("/v1/events?page=2")
        .await
        .assert_problem(400, "invalid_parameter");
}

#[tokio::test]
async fn given_a_token_of_one_establishment_then_the_others_events_are_not_shown() {
    let api = Platform::start().await.api().await;
    let owner = api.furnished("acme").await;
    let milano = json!({"name": "Milano", "time_zone": "Europe/Rome", "currency": "EUR"});
    owner.put("/v1/establishments/milano", &milano).await;
    owner.placed().await;
    let limited = api.client_with(api.token("acme", &[Scope::EventsRead], Some(&["milano"])));
    let shown = read_all(&limited, "", 2).await;
    assert_eq!(
        types(&shown),
        ["ProductDefined", "EstablishmentDefined"],
        "what is tenant-wide, and its own"
    );
    let asked = limited.get("/v1/events?establishment_id=roma").await;
    asked.assert_problem(403, "establishment_forbidden");
}
