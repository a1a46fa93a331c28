//! Replays to a real topic and to a server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use event_store::{Cursor, LogFilter, RecordedEvent};
use export::{Error, HttpReceiver, Mode, Pace, Receiver, ReplayProgress, ReplayRequest};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use service::settings::KafkaSettings;

use crate::support::{Log, tenant};

fn request(pace: Pace) -> ReplayRequest {
    ReplayRequest {
        filter: LogFilter::default(),
        after: Cursor::default(),
        until: None,
        pace,
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what)
        .await
        .expect("within a minute")
}

/// The log's events, each slot's in order.
async fn stored(log: &Log) -> Vec<RecordedEvent> {
    let mut scan = log
        .store
        .scan(LogFilter::default(), &Cursor::default(), None)
        .await
        .expect("planned");
    let mut events = Vec::new();
    while let Some(page) = scan.next().await.expect("read") {
        events.extend(page.events);
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_a_topic_when_the_log_is_replayed_to_it_then_its_records_are_the_relays_and_each_slot_is_in_order() {
    const PARTITIONS: i32 = 3;
    let (log, kafka) = (Log::filled(2, 12, 600).await, local_kafka::testing::shared().await);
    let settings = KafkaSettings {
        bootstrap: kafka.bootstrap(),
        ..KafkaSettings::default()
    };
    let config: ClientConfig = relay::kafka::client_config(&settings).expect("settings");
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let topic = NewTopic::new("replayed", PARTITIONS, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await.expect("made");
    let receiver = || Receiver::Kafka {
        settings: Box::new(settings.clone()),
        topic: "replayed".to_owned(),
    };
    // The first half up to a cursor, the rest from there.
    let progress = ReplayProgress::new(&Cursor::default());
    let mut first = request(Pace::Unlimited);
    first.filter.to = Some("2026-02-28T12:00:00Z".parse().expect("a time"));
    within(export::replay(&log.store, first, receiver(), &progress))
        .await
        .expect("replayed");
    let second = ReplayRequest {
        after: progress.cursor(),
        ..request(Pace::Unlimited)
    };
    within(export::replay(&log.store, second, receiver(), &progress))
        .await
        .expect("replayed");

    let consumer: StreamConsumer = config.clone().set("group.id", "unused").create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("replayed", partition, Offset::Beginning)
            .expect("added");
    }
    consumer.assign(&all).expect("assigned");
    let expected: HashMap<_, _> = stored(&log)
        .await
        .into_iter()
        .map(|event| (event.event_id, event))
        .collect();
    let mut last = HashMap::new();
    for _ in 0..expected.len() {
        let record = within(consumer.recv()).await.expect("a record");
        let event = relay::record::decode(&record).expect("the relay's own");
        let stored = &expected[&event.event_id];
        assert_eq!(
            (event.payload.get(), &event.metadata),
            (stored.payload.get(), &stored.metadata)
        );
        assert_eq!(record.partition(), relay::record::partition_of(event.slot, 3));
        let before = last.insert(event.slot, event.slot_position.0).unwrap_or_default();
        assert_eq!(event.slot_position.0, before + 1, "slot {}", event.slot);
    }
    let missing = Receiver::Kafka {
        settings: Box::new(settings),
        topic: "not-there".to_owned(),
    };
    let refused = within(export::replay(&log.store, request(Pace::Unlimited), missing, &progress)).await;
    assert!(matches!(refused, Err(Error::Settings(_))), "{refused:?}");
}

/// What a server was sent, and how it answers.
#[derive(Default)]
struct Seen {
    /// Slot, slot position, id, type and data, as they came.
    events: Vec<(u64, i64, String, String, Value)>,
    requests: usize,
    /// Every so many requests are told to come back.
    overloaded_every: usize,
    told_to_wait: usize,
    /// Refuses the request of this number for good.
    refuse: Option<usize>,
}

type Shared = Arc<Mutex<Seen>>;

async fn receive(State(seen): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let mut seen = seen.lock().expect("unpoisoned");
    seen.requests += 1;
    if seen.overloaded_every > 0 && seen.requests.is_multiple_of(seen.overloaded_every) {
        seen.told_to_wait += 1;
        let status = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE][seen.told_to_wait % 2];
        return (status, [("retry-after", "0")]).into_response();
    }
    if seen.refuse == Some(seen.requests) {
        return (StatusCode::UNPROCESSABLE_ENTITY, "no such hook").into_response();
    }
    let head = |name: &str| headers[name].to_str().expect("ASCII").to_owned();
    if head("content-type") == "application/cloudevents-batch+json" {
        let events: Vec<Value> = serde_json::from_str(&body).expect("a batch");
        for event in events {
            let text = |name: &str| event[name].as_str().expect(name).to_owned();
            assert_eq!(
                (text("specversion"), text("datacontenttype")),
                ("1.0".into(), "application/json".into())
            );
            let number = |name: &str| text(name).parse::<i64>().expect(name);
            seen.events.push((
                number("slot").unsigned_abs(),
                number("slotposition"),
                text("id"),
                text("type"),
                event["data"].clone(),
            ));
        }
    } else {
        assert_eq!(
            (head("ce-specversion"), head("content-type")),
            ("1.0".into(), "application/json".into())
        );
        let number = |name: &str| head(name).parse::<i64>().expect("a number");
        seen.events.push((
            number("ce-slot").unsigned_abs(),
            number("ce-slotposition"),
            head("ce-id"),
            head("ce-type"),
            serde_json::from_str(&body).expect("JSON"),
        ));
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn server(seen: Seen) -> (HttpReceiver, Shared) {
    let seen = Arc::new(Mutex::new(seen));
    let routes = Router::new()
        .route("/hook", post(receive))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let receiver = HttpReceiver {
        url,
        mode: Mode::Binary,
        connections: 3,
        patience: Duration::from_secs(20),
        token: None,
    };
    (receiver, seen)
}

fn assert_all_in_order(seen: &Seen, expected: &[RecordedEvent]) {
    assert_eq!(seen.events.len(), expected.len());
    let mut last: HashMap<u64, i64> = HashMap::new();
    for (slot, position, ..) in &seen.events {
        let last = last.entry(*slot).or_default();
        assert_eq!(*position, *last + 1, "slot {slot}");
        *last += 1;
    }
    let by_id: HashMap<String, &RecordedEvent> = expected
        .iter()
        .map(|event| (event.event_id.to_string(), event))
        .collect();
    for (_, _, id, kind, data) in &seen.events {
        let event = by_id[id];
        assert_eq!((kind, data), (&event.event_type, &json!(event.payload)));
    }
}

#[tokio::test]
async fn given_a_receiver_that_is_overloaded_now_and_then_when_replayed_by_http_then_all_arrives_in_order_in_both_modes()
 {
    let log = Log::filled(2, 10, 150).await;
    let expected = stored(&log).await;
    for mode in [Mode::Binary, Mode::Batch(16)] {
        let (mut receiver, seen) = server(Seen {
            overloaded_every: 5,
            ..Seen::default()
        })
        .await;
        receiver.mode = mode;
        let progress = ReplayProgress::new(&Cursor::default());
        within(export::replay(
            &log.store,
            request(Pace::Unlimited),
            Receiver::Http(receiver),
            &progress,
        ))
        .await
        .expect("replayed");
        let seen = seen.lock().expect("unpoisoned");
        assert!(seen.told_to_wait > 0);
        assert_all_in_order(&seen, &expected);
    }
}

#[tokio::test]
async fn given_a_receiver_that_refuses_when_replayed_from_the_cursor_then_nothing_is_left_out() {
    let log = Log::filled(1, 10, 150).await;
    let expected = stored(&log).await;
    let (receiver, seen) = server(Seen {
        refuse: Some(120),
        ..Seen::default()
    })
    .await;
    let progress = ReplayProgress::new(&Cursor::default());
    let to = || Receiver::Http(receiver.clone());
    let refused = within(export::replay(&log.store, request(Pace::Unlimited), to(), &progress)).await;
    let said = refused.expect_err("refused").to_string();
    assert!(said.contains("422") && said.contains("no such hook"), "{said}");
    seen.lock().expect("unpoisoned").refuse = None;
    let rest = ReplayRequest {
        after: progress.cursor(),
        ..request(Pace::Unlimited)
    };
    within(export::replay(&log.store, rest, to(), &progress))
        .await
        .expect("replayed");
    let mut seen = seen.lock().expect("unpoisoned");
    // At least once: what was on its way may have come twice.
    let mut ids = std::collections::HashSet::new();
    seen.events.retain(|event| ids.insert(event.2.clone()));
    assert_all_in_order(&seen, &expected);
}

#[tokio::test]
async fn given_a_speed_when_replayed_then_it_takes_as_long_as_the_log_divided_by_it() {
    let log = Log::filled(1, 1, 4).await;
    let (receiver, seen) = server(Seen::default()).await;
    let mut request = request(Pace::Speed(120_000.0));
    request.filter.tenant = Some(tenant(0));
    let progress = ReplayProgress::new(&Cursor::default());
    let begun = Instant::now();
    within(export::replay(&log.store, request, Receiver::Http(receiver), &progress))
        .await
        .expect("replayed");
    // From the first to the last of the orders are 45 hours.
    assert!(begun.elapsed() >= Duration::from_millis(1_350), "{:?}", begun.elapsed());
    assert_eq!(seen.lock().expect("unpoisoned").events.len(), 8);
}
