//! Streams over real sockets: a reader that does not read, and a process that stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures::StreamExt as _;
use futures::stream::unfold;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::{Value, json};
use service::auth::Scope;
use service::http::{Served, serve};
use service::settings::HttpSettings;
use service::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::reading::Reading;
use crate::support::{Api, Platform, small_order};

/// A client's receive buffer, small, so that little is in flight when it does not read.
const RECEIVE_BUFFER: u32 = 16 * 1024;

struct Server {
    address: std::net::SocketAddr,
    front: Shutdown,
    serving: JoinHandle<Served>,
}

impl Server {
    async fn start(api: &Api) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, front) = (listener.local_addr().unwrap(), Shutdown::new());
        let settings = HttpSettings {
            drain_notice_ms: 10,
            ..HttpSettings::default()
        };
        let command = api.command.clone().with_streams_ended_by(&front);
        let router = service::http::harden(command_api::router(command), &settings);
        let stop = front.clone();
        let serving = tokio::spawn(async move { serve(listener, router, stop, &settings).await });
        Self {
            address,
            front,
            serving,
        }
    }

    /// A connection on which a stream was asked for, and nothing read yet.
    async fn ask(&self, api: &Api) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        let mut connection = socket.connect(self.address).await.unwrap();
        let token = api.token("acme", &[Scope::EventsRead], None);
        let request = format!(
            "GET /v1/events HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        connection
    }
}

/// What the socket gives. The head of the answer is a block like any other, which says nothing.
fn read(connection: TcpStream) -> Reading {
    let bytes = unfold(connection, |mut connection| async {
        let mut buffer = vec![0; 64 * 1024];
        let read = connection.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        buffer.truncate(read);
        Some((Bytes::from(buffer), connection))
    });
    // Pieces may end within a character; what this test writes has none of several bytes.
    Reading::of_bytes(bytes.boxed())
}

/// Counts what one counter counts.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Count {
    const NAME: &'static str = "event_stream_events_total";

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Atomic(Arc<AtomicU64>);

impl CounterFn for Atomic {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::SeqCst);
    }
}

impl Recorder for Count {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == Self::NAME {
            Counter::from_arc(Arc::new(Atomic(Arc::clone(&self.0))))
        } else {
            Counter::noop()
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// An order of about half a megabyte.
fn large_order() -> Value {
    let note = "n".repeat(2_000);
    let item = json!({"product_id": "espresso", "quantity": 1, "note": note});
    let mut order = small_order();
    order["items"] = json!(vec![item; 230]);
    order
}

#[tokio::test]
async fn given_a_client_that_does_not_read_then_the_log_is_not_read_for_it_either() {
    const LARGE: usize = 60;
    let count = Count::default();
    // All of this test runs on this thread.
    let _recording = metrics::set_default_local_recorder(&count);
    let platform = Platform::start().await;
    let api = platform.api().await;
    let client = api.furnished("acme").await;
    for _ in 0..LARGE {
        assert_eq!(client.order(&large_order()).await.status, 201);
    }
    let server = Server::start(&api).await;
    let slow = server.ask(&api).await;

    // Others read everything meanwhile, so there was time enough to read it for the slow one.
    for _ in 0..3 {
        let read = read(server.ask(&api).await).events(3 + LARGE).await;
        assert_eq!(read.len(), 3 + LARGE);
    }

    let for_slow = count.now() - 3 * (3 + LARGE as u64);
    println!(
        "of {} events, 0.5 MB each, {for_slow} were written for a client that read none",
        3 + LARGE
    );
    assert!(for_slow >= 1, "its stream has begun");
    assert!(for_slow <= 20, "{for_slow} events wait in memory");
    // It finds all of it when it reads at last.
    assert_eq!(read(slow).events(3 + LARGE).await.len(), 3 + LARGE);
}

#[tokio::test]
async fn given_open_streams_when_the_process_stops_then_they_end_at_once_and_nothing_is_cut() {
    let platform = Platform::start().await;
    let api = platform.api().await;
    api.furnished("acme").await;
    let server = Server::start(&api).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = read(server.ask(&api).await);
        stream.events(3).await;
        streams.push(stream);
    }
    let stopped = Instant::now();
    server.front.trigger();
    for mut stream in streams {
        let end = stream.next().await.unwrap();
        assert_eq!(end.event.as_deref(), Some("end"), "{end:?}");
        assert_eq!(end.data.unwrap()["code"], "stopping");
        assert!(stream.next().await.is_none());
    }
    assert_eq!(server.serving.await.unwrap(), Served { cut: 0 });
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());
}
