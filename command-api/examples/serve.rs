//! Serves the command API on throwaway databases, for tools that test it from outside. Prints its
//! URL, then two tokens of a furnished tenant: one that reaches every establishment, and one that
//! reaches a single one, so that an order need not name it. Stops on SIGINT or SIGTERM.
#![expect(
    clippy::unwrap_used,
    reason = "a test server that cannot start has nobody to recover for"
)]

#[path = "../tests/api/support.rs"]
mod support;

use std::time::Duration;

use service::auth::Scope;
use service::settings::HttpSettings;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;

/// Longer than any tool takes.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let api = support::Platform::start().await.api().await;
    api.furnished("dev").await;
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals()?;
    api.command.follow_catalogue(&shutdown);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    for establishments in [None, Some(&["roma"][..])] {
        println!("{}", api.token_for("dev", &Scope::ALL, establishments, A_DAY));
    }
    service::http::serve(listener, api.router.clone(), shutdown, &HttpSettings::default()).await;
    Ok(())
}
