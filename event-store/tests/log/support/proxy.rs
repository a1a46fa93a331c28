//! A network that can swallow answers and fail, between a store and its shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    port: u16,
    refuse: Arc<AtomicBool>,
    /// Swallow what the server sends, from now on.
    mute: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    /// Rises to cut every connection made so far.
    cuts: watch::Sender<u32>,
}

impl Proxy {
    pub(crate) async fn to(url: &str) -> Self {
        let server = address(url);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let (refuse, mute) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let swallowed = Arc::new(AtomicUsize::new(0));
        let cuts = watch::Sender::new(0);
        let (refusing, muting, counter, cutting) = (refuse.clone(), mute.clone(), swallowed.clone(), cuts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&server).await.expect("reach the server");
                let mut cut = cutting.subscribe();
                let (muting, counter) = (muting.clone(), counter.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = pass(client, server, &muting, &counter) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            port,
            refuse,
            mute,
            swallowed,
            cuts,
        }
    }

    pub(crate) fn url(&self, url: &str) -> String {
        url.replacen(&address(url), &format!("127.0.0.1:{}", self.port), 1)
    }

    pub(crate) fn mute(&self, on: bool) {
        self.mute.store(on, Ordering::SeqCst);
    }

    pub(crate) fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse(&self, on: bool) {
        self.refuse.store(on, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(client: TcpStream, server: TcpStream, mute: &AtomicBool, swallowed: &AtomicUsize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let questions = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if mute.load(Ordering::SeqCst) {
                swallowed.fetch_add(length, Ordering::SeqCst);
            } else if to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { _ = questions => {}, () = answers => {} }
}

/// `host:port` of a URL.
fn address(url: &str) -> String {
    let after_user = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    let after_scheme = after_user.rsplit_once("://").map_or(after_user, |(_, rest)| rest);
    after_scheme.split('/').next().expect("an address").to_owned()
}
