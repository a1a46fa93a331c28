//! Serves the command API on throwaway databases, for tools that test it from outside: prints its
//! URL and a token, and stops on SIGINT or SIGTERM.
#![expect(
    clippy::unwrap_used,
    reason = "a test server that cannot start has nobody to recover for"
)]

#[path = "../tests/api/support.rs"]
mod support;

use service::auth::Scope;
use service::settings::HttpSettings;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let api = support::Platform::start().await.api().await;
    api.furnished("dev").await;
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals()?;
    api.command.follow_catalogue(&shutdown);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    println!("{}", api.token("dev", &Scope::ALL, Some(&["roma"])));
    service::http::serve(listener, api.router.clone(), shutdown, &HttpSettings::default()).await;
    Ok(())
}
