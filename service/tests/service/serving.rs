//! Real connections: limits on heads, and a stop that loses no request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use service::http::{Served, harden, serve};
use service::json::RawJson;
use service::settings::HttpSettings;
use service::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    served: JoinHandle<Served>,
    /// Requests that have reached `/slow`.
    started: Arc<AtomicUsize>,
    /// One permit lets one `/slow` request end.
    gate: Arc<Semaphore>,
}

async fn start(settings: HttpSettings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (started, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, wait) = (Arc::clone(&started), Arc::clone(&gate));
    let router = Router::new()
        .route("/fast", get(|| async { "fast" }))
        .route("/json", post(|body: RawJson| async move { body.0.len().to_string() }))
        .route(
            "/slow",
            get(move || async move {
                count.fetch_add(1, Ordering::SeqCst);
                wait.acquire().await.unwrap().forget();
                "slow"
            }),
        );
    let shutdown = Shutdown::new();
    let stopping = shutdown.clone();
    let served = tokio::spawn(async move { serve(listener, harden(router, &settings), stopping, &settings).await });
    Running {
        address,
        shutdown,
        served,
        started,
        gate,
    }
}

fn settings() -> HttpSettings {
    HttpSettings {
        drain_notice_ms: 50,
        shutdown_deadline_ms: 5_000,
        ..HttpSettings::default()
    }
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("within 20 s")
}

async fn until(condition: impl Fn() -> bool) {
    bounded(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn send(stream: &mut TcpStream, path: &str) {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
}

/// Reads one answer with a `content-length`; `None` where the connection closed first.
async fn receive(stream: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).to_lowercase();
        if let Some(head) = text.find("\r\n\r\n") {
            let length: usize = text
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
                .unwrap_or(0);
            if answer.len() >= head + 4 + length {
                return Some(text);
            }
        }
        let mut chunk = [0; 4_096];
        match bounded(stream.read(&mut chunk)).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
        }
    }
}

#[tokio::test]
async fn given_requests_in_flight_when_stopped_then_they_are_answered_and_idle_connections_close() {
    let server = start(settings()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    send(&mut idle, "/fast").await;
    assert!(receive(&mut idle).await.unwrap().ends_with("fast"));
    let mut busy = TcpStream::connect(server.address).await.unwrap();
    send(&mut busy, "/slow").await;
    until(|| server.started.load(Ordering::SeqCst) == 1).await;

    server.shutdown.trigger();
    assert_eq!(receive(&mut idle).await, None, "an idle connection is closed");
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "nobody new is let in"
    );
    assert!(!server.served.is_finished());
    server.gate.add_permits(1);
    let answer = receive(&mut busy).await.unwrap();
    assert!(
        answer.starts_with("http/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(bounded(server.served).await.unwrap(), Served { cut: 0 });
}

/// What the clients of a load have seen.
#[derive(Default)]
struct Load {
    /// Requests answered.
    answered: usize,
    /// The stop is asked for.
    stopping: bool,
    /// Requests answered on connections that were made after it.
    newcomers: usize,
    /// No further connection could be made.
    closed: bool,
}

/// Sends until it is told that the connection closes; every request needs an answer.
///
/// It pauses between requests, for a connection closed in the pause is what loses the next one:
/// until the others had `client` more answers, or where the stop comes first, until four times as
/// many newcomers had theirs.
async fn client(client: usize, address: SocketAddr, load: Arc<watch::Sender<Load>>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    loop {
        send(&mut stream, "/fast").await;
        let answer = receive(&mut stream).await.expect("an answer to every request");
        assert!(answer.starts_with("http/1.1 200"), "{answer}");
        let mut go_on_at = client;
        load.send_modify(|load| {
            load.answered += 1;
            go_on_at += load.answered;
        });
        if answer.contains("connection: close") {
            return;
        }
        let goes_on = |load: &Load| match load.stopping {
            false => load.answered >= go_on_at,
            true => load.newcomers >= 4 * client || load.closed,
        };
        load.subscribe().wait_for(goes_on).await.unwrap();
    }
}

/// One request on a connection of its own; `None` where it is not let in any more.
async fn newcomer(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    send(&mut stream, "/fast").await;
    receive(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_clients_under_load_on_kept_connections_when_stopped_then_no_request_sent_goes_unanswered() {
    let server = start(HttpSettings {
        drain_notice_ms: 1_000,
        ..settings()
    })
    .await;
    let load = Arc::new(watch::Sender::new(Load::default()));
    let clients: Vec<_> = (0..16)
        .map(|nth| tokio::spawn(client(nth, server.address, Arc::clone(&load))))
        .collect();
    let mut seen = load.subscribe();
    drop(bounded(seen.wait_for(|load| load.answered > 500)).await.unwrap());
    load.send_modify(|load| load.stopping = true);
    server.shutdown.trigger();
    while !load.borrow().closed && load.borrow().newcomers < 4 * 16 {
        let answer = newcomer(server.address).await;
        load.send_modify(|load| match answer {
            Some(_) => load.newcomers += 1,
            None => load.closed = true,
        });
    }
    for client in clients {
        bounded(client).await.unwrap();
    }
    assert_eq!(bounded(server.served).await.unwrap(), Served { cut: 0 });
}

#[tokio::test]
async fn given_connections_in_the_backlog_when_stopped_then_their_requests_are_answered() {
    // One place only, held by a slow request: the next connections wait in the kernel.
    let server = start(HttpSettings {
        max_connections: 1,
        ..settings()
    })
    .await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    send(&mut first, "/slow").await;
    until(|| server.started.load(Ordering::SeqCst) == 1).await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    send(&mut second, "/fast").await;

    server.shutdown.trigger();
    server.gate.add_permits(1);
    assert!(receive(&mut first).await.unwrap().ends_with("slow"));
    assert!(receive(&mut second).await.unwrap().ends_with("fast"));
    assert_eq!(bounded(server.served).await.unwrap(), Served { cut: 0 });
}

#[tokio::test]
async fn given_a_request_without_end_when_the_deadline_passes_or_is_forced_then_it_is_cut_and_counted() {
    for forced in [false, true] {
        let deadline_ms = if forced { 600_000 } else { 100 };
        let server = start(HttpSettings {
            shutdown_deadline_ms: deadline_ms,
            ..settings()
        })
        .await;
        let mut stuck = TcpStream::connect(server.address).await.unwrap();
        send(&mut stuck, "/slow").await;
        until(|| server.started.load(Ordering::SeqCst) == 1).await;
        server.shutdown.trigger();
        if forced {
            server.shutdown.force();
        }
        assert_eq!(bounded(server.served).await.unwrap(), Served { cut: 1 });
        assert_eq!(receive(&mut stuck).await, None);
    }
}

#[tokio::test]
async fn given_a_head_that_never_ends_when_the_limit_passes_then_the_connection_closes() {
    let server = start(HttpSettings {
        header_read_timeout_ms: 100,
        ..settings()
    })
    .await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /fast HTTP/1.1\r\nhost: x\r\nx-slow: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    bounded(slow.read_to_end(&mut rest)).await.unwrap();
    let mut next = TcpStream::connect(server.address).await.unwrap();
    send(&mut next, "/fast").await;
    assert!(receive(&mut next).await.unwrap().ends_with("fast"));
}

#[tokio::test]
async fn given_a_head_beyond_the_limit_when_sent_then_431() {
    let server = start(settings()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "GET /fast HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(receive(&mut stream).await.unwrap().starts_with("http/1.1 431"));
}

#[tokio::test]
async fn given_a_body_of_ten_megabytes_when_sent_then_the_client_reads_the_413() {
    let server = start(settings()).await;
    let body = vec![b'x'; 10 * 1024 * 1024];
    let announced = format!("content-length: {}\r\n\r\n", body.len()).into_bytes();
    let mut chunked = format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()).into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    for rest in [[announced, body].concat(), chunked] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = b"POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        stream
            .write_all(&[head.as_slice(), &rest].concat())
            .await
            .expect("the whole body can be sent");
        let answer = receive(&mut stream).await.expect("an answer");
        assert!(
            answer.starts_with("http/1.1 413") && answer.contains("payload_too_large"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn given_a_client_that_asks_first_when_its_body_is_too_large_then_413_without_the_body() {
    let server = start(settings()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = b"POST /json HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 10000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert!(receive(&mut stream).await.unwrap().starts_with("http/1.1 413"));
}
