//! An address that another server can be put behind, as a name that is pointed to the standby.

use local_postgres::Server;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(super) struct Address {
    port: u16,
    /// The port of the server behind it. Connections end when it changes.
    server: watch::Sender<u16>,
}

impl Address {
    pub(super) async fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (server, behind) = watch::channel(server.port());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut behind = behind.clone();
                tokio::spawn(async move {
                    let port = *behind.borrow_and_update();
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = behind.changed() => {}
                    }
                });
            }
        });
        Self { port, server }
    }

    /// The URL of a server's database, by this address.
    pub(super) fn url(&self, server: &Server, database: &str) -> String {
        let (from, to) = (format!(":{}/", server.port()), format!(":{}/", self.port));
        server.url(database).replacen(&from, &to, 1)
    }

    pub(super) fn lead_to(&self, server: &Server) {
        self.server.send_replace(server.port());
    }
}
