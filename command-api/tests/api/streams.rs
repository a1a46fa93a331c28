//! The tenant's log as an endless answer.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use service::auth::Scope;
use service::settings::CommandSettings;
use service::shutdown::Shutdown;

use crate::reading::{Frame, Reading};
use crate::support::{Api, Client, Platform, small_order};

async fn following(platform: &Platform) -> (Api, Shutdown) {
    let (api, shutdown) = (platform.api().await, Shutdown::new());
    api.command.follow_catalogue(&shutdown);
    (api, shutdown)
}

async fn open(client: &Client, query: &str, headers: &[(&str, &str)]) -> Reading {
    Reading::of(client, &format!("/v1/events{query}"), headers).await
}

/// The whole log as pages give it.
async fn log(client: &Client) -> Vec<Value> {
    let answer = client.get("/v1/events?limit=1000").await;
    answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn end(frame: &Frame) -> &str {
    assert_eq!(frame.event.as_deref(), Some("end"), "{frame:?}");
    assert_eq!(frame.id, None, "the end is no place in the log");
    frame.data.as_ref().unwrap()["code"].as_str().unwrap()
}

#[tokio::test]
async fn given_a_stream_when_more_is_appended_then_it_comes_at_once_with_its_position() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let client = api.furnished("acme").await;
    client.placed().await;
    let mut stream = open(&client, "", &[]).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.header("cache-control"), Some("private, no-store"));
    let mut seen = stream.events(4).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        client.placed().await;
        let answered = Instant::now();
        seen.extend(stream.events(1).await);
        slowest = slowest.max(answered.elapsed());
    }
    println!("slowest of 20 events after the command's answer: {slowest:?}");
    let logged = log(&client).await;
    assert_eq!(seen.len(), logged.len());
    for (frame, event) in seen.iter().zip(&logged) {
        assert_eq!(frame.data.as_ref(), Some(event));
        assert_eq!(frame.id.as_deref(), event["position"].as_str());
        assert_eq!(frame.event.as_deref(), event["type"].as_str());
    }
    assert!(
        slowest < Duration::from_millis(900),
        "woken, not found by the poll: {slowest:?}"
    );
}

#[tokio::test]
async fn given_orders_flowing_when_a_client_is_cut_off_and_comes_back_then_nothing_is_missing_or_double() {
    const ORDERS: usize = 150;
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let client = api.furnished("acme").await;
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            for _ in 0..ORDERS {
                client.placed().await;
            }
        }
    });
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    let mut take = 1;
    while seen.len() < 3 + ORDERS {
        // What a browser does: the URL of the first time, and what it saw last.
        let headers: Vec<_> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let mut stream = open(&client, "", &headers).await;
        let frames = stream.events(take.min(3 + ORDERS - seen.len())).await;
        last = frames.last().and_then(|frame| frame.id.clone());
        seen.extend(frames);
        take = (take * 7) % 23 + 1;
    }
    writer.await.unwrap();
    let seen: Vec<_> = seen.into_iter().map(|frame| frame.data.unwrap()).collect();
    assert_eq!(seen, log(&client).await);
}

#[tokio::test]
async fn given_filters_a_start_and_a_limit_then_the_stream_keeps_to_them() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let client = api.furnished("acme").await;
    let id = client.placed().await;
    client.placed().await;
    client.status(&id, &[], &json!({"status": "accepted"})).await;

    let mut of_order = open(&client, &format!("?order_id={id}&limit=2"), &[]).await;
    let types: Vec<_> = of_order
        .events(2)
        .await
        .into_iter()
        .map(|it| it.event.unwrap())
        .collect();
    assert_eq!(types, ["OrderCreated", "OrderStatusChanged"]);
    assert_eq!(end(&of_order.next().await.unwrap()), "limit_reached");
    assert!(of_order.next().await.is_none(), "the answer has ended");

    let mut created = open(&client, "?type=OrderCreated&after=now", &[]).await;
    client.status(&id, &[], &json!({"status": "preparing"})).await;
    let third = client.placed().await;
    let frame = created.events(1).await.remove(0);
    assert_eq!(
        frame.data.unwrap()["aggregate_id"],
        third.as_str(),
        "only what came later"
    );
}

#[tokio::test]
async fn given_silence_then_the_client_is_told_how_far_the_stream_has_come() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let client = api.furnished("acme").await;
    let mut stream = open(&client, "?type=ProductDefined&after=now", &[]).await;
    let position = client
        .order(&small_order())
        .await
        .header("comanda-position")
        .unwrap()
        .to_owned();
    let passed_over = stream.next().await.unwrap();
    let expected = Frame {
        id: Some(position.clone()),
        ..Frame::default()
    };
    assert_eq!(passed_over, expected, "no event, but a place to come back to");
    let id = client.placed().await;
    let mut resumed = open(&client, "", &[("last-event-id", &position)]).await;
    assert_eq!(
        resumed.events(1).await[0].data.as_ref().unwrap()["aggregate_id"],
        id.as_str()
    );
}

#[tokio::test]
async fn given_both_kinds_accepted_then_the_one_named_first_is_answered() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    for (accept, kind) in [
        ("*/*", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "application/x-ndjson"),
        ("Text/Event-Stream; q=0.9, application/x-ndjson", "text/event-stream"),
    ] {
        let stream = open(&client, "?limit=1", &[("accept", accept)]).await;
        assert_eq!(stream.header("content-type"), Some(kind), "{accept}");
    }
}

#[tokio::test]
async fn given_a_last_event_id_that_this_log_never_gave_then_400() {
    let api = Platform::start().await.api().await;
    let client = api.furnished("acme").await;
    for id in ["x", "1.1.1", "0.1.99999", "now"] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", id)];
        let answer = client.send(Method::GET, "/v1/events", &headers, Body::empty()).await;
        answer.assert_problem(400, "invalid_cursor");
    }
}

#[tokio::test]
async fn given_as_many_streams_as_may_be_then_the_next_is_told_to_come_back() {
    let platform = Platform::start().await;
    let api = platform
        .api_with(CommandSettings {
            event_streams_max: 2,
            event_streams_per_tenant_max: 1,
            ..CommandSettings::default()
        })
        .await;
    let (acme, other, third) = (api.furnished("acme").await, api.client("other"), api.client("third"));
    let headers = [("accept", "text/event-stream")];
    let refused = async |client: &Client, status, code| {
        let answer = client.send(Method::GET, "/v1/events", &headers, Body::empty()).await;
        answer.assert_problem(status, code);
        assert!(answer.header("retry-after").is_some());
    };
    let first = open(&acme, "", &[]).await;
    refused(&acme, 429, "too_many_streams").await;
    let _second = open(&other, "", &[]).await;
    refused(&third, 503, "overloaded").await;
    assert_eq!(acme.get("/v1/events").await.status, 200, "pages are not streams");
    drop(first);
    assert_eq!(open(&third, "", &[]).await.status(), 200);
}

#[tokio::test]
async fn given_a_token_when_it_expires_then_the_stream_says_so_and_ends() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    api.furnished("acme").await;
    let token = api.token_for("acme", &[Scope::EventsRead], None, Duration::from_secs(3));
    let mut stream = open(&api.client_with(token), "", &[]).await;
    stream.events(3).await;
    assert_eq!(end(&stream.next().await.unwrap()), "token_expired");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn given_a_log_that_is_restored_behind_the_cursor_then_the_stream_ends_and_cannot_be_resumed() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let client = api.furnished("acme").await;
    let mut stream = open(&client, "", &[]).await;
    let last = stream.events(3).await.pop().unwrap().id.unwrap();
    for mut shard in platform.connections().await {
        sqlx::query("UPDATE slots SET incarnation = incarnation + 1")
            .execute(&mut shard)
            .await
            .unwrap();
    }
    assert_eq!(end(&stream.next().await.unwrap()), "log_restored");
    let headers = [("accept", "text/event-stream"), ("last-event-id", last.as_str())];
    let answer = client.send(Method::GET, "/v1/events", &headers, Body::empty()).await;
    answer.assert_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn given_a_log_that_cannot_be_read_for_a_moment_then_the_stream_goes_on_without_a_gap() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let client = api.furnished("acme").await;
    let mut stream = open(&client, "", &[]).await;
    let mut seen = stream.events(3).await;
    let mut shards = platform.connections().await;
    for shard in &mut shards {
        sqlx::query("ALTER TABLE slots RENAME TO away")
            .execute(shard)
            .await
            .unwrap();
    }
    let looked = stream.next_within(Duration::from_millis(1_500)).await;
    assert!(looked.is_none(), "it waits: {looked:?}");
    for shard in &mut shards {
        sqlx::query("ALTER TABLE away RENAME TO slots")
            .execute(shard)
            .await
            .unwrap();
    }
    client.placed().await;
    seen.extend(stream.events(1).await);
    let seen: Vec<_> = seen.into_iter().map(|frame| frame.data.unwrap()).collect();
    assert_eq!(seen, log(&client).await);
}

#[tokio::test]
async fn given_a_limited_token_or_another_tenant_then_only_what_it_may_see_is_streamed() {
    let platform = Platform::start().await;
    let (api, _shutdown) = following(&platform).await;
    let owner = api.furnished("acme").await;
    let milano = json!({"name": "Milano", "time_zone": "Europe/Rome", "currency": "EUR"});
    let limited = api.client_with(api.token("acme", &[Scope::EventsRead], Some(&["milano"])));
    let mut stream = open(&limited, "", &[]).await;
    let mut strangers = open(&api.client("stranger"), "", &[]).await;
    let mut order = small_order();
    order["reference"] = json!("canary-4711");
    owner.order(&order).await;
    owner.put("/v1/establishments/milano", &milano).await;
    let seen = stream.events(2).await;
    let types: Vec<_> = seen.iter().map(|frame| frame.event.as_deref().unwrap()).collect();
    assert_eq!(types, ["ProductDefined", "EstablishmentDefined"]);
    api.furnished("stranger").await;
    for frame in strangers.events(3).await {
        assert_eq!(frame.data.unwrap()["tenant_id"], "stranger");
    }
    let refused = [("accept", "text/event-stream")];
    let asked = limited
        .send(Method::GET, "/v1/events?establishment_id=roma", &refused, Body::empty())
        .await;
    asked.assert_problem(403, "establishment_forbidden");
}
