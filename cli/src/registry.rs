//! The processes that are there: each writes itself into the control database every few seconds, so
//! that `status` and `doctor` can show them all.
//!
//! Guarantee: none that anything depends on. Without the control database a process works as well
//! and is merely not seen; one that is killed is no longer shown as present after [`PRESENT`], by
//! the database's clock.

use std::net::SocketAddr;
use std::time::Duration;

use domain::Timestamp;
use service::edge;
use sqlx::{Connection, PgConnection};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use crate::exit::Failure;
use crate::process::Process;

const EVERY: Duration = Duration::from_secs(2);
/// How long a process counts as present after it was last heard of.
const PRESENT: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(2);

/// A process as the control database knows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Registered {
    pub(crate) role: String,
    /// `host:process`.
    pub(crate) name: String,
    /// Where its health and metrics are.
    pub(crate) url: String,
    pub(crate) version: String,
    pub(crate) started_at: chrono::DateTime<chrono::Utc>,
    /// Heard of a moment ago.
    pub(crate) present: bool,
}

/// Reads who is, or was not long ago.
pub(crate) async fn processes(control: &mut PgConnection) -> Result<Vec<Registered>, sqlx::Error> {
    sqlx::query_as(
        "SELECT role, name, url, version, started_at, present_until >= clock_timestamp() AS present \
           FROM processes ORDER BY role, started_at, name",
    )
    .fetch_all(control)
    .await
}

/// Has this process written down as long as it runs.
pub(crate) fn announce(process: &Process, role: &'static str) -> Result<(), Failure> {
    let control = process.settings.control.url.expose().to_owned();
    if control.is_empty() {
        return Ok(());
    }
    let entry = Entry {
        control,
        id: edge::fresh_id(),
        role,
        name: name_of_this_process(),
        url: format!("http://{}", reachable(process.address()?)),
        started_at: edge::now(),
    };
    let stop = process.behind.clone();
    process.behind.spawn("registry", async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let written = timeout(PATIENCE, entry.write()).await;
            let now = matches!(written, Ok(Ok(())));
            if heard && !now {
                tracing::warn!("the control database cannot be written; `status` does not show this process");
            }
            heard = now;
        }
        // What is not removed is soon no longer present.
        let _ = timeout(PATIENCE, entry.remove()).await;
    });
    Ok(())
}

/// host:process, for people.
pub(crate) fn name_of_this_process() -> String {
    format!("{}:{}", host(), std::process::id())
}

struct Entry {
    control: String,
    id: Uuid,
    role: &'static str,
    name: String,
    url: String,
    started_at: Timestamp,
}

impl Entry {
    /// A connection of its own for each time: one every two seconds, and nothing to keep alive.
    async fn write(&self) -> Result<(), sqlx::Error> {
        let mut control = PgConnection::connect(&self.control).await?;
        sqlx::query(
            "INSERT INTO processes AS p (process, role, name, url, version, started_at, present_until) \
             VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7)) \
             ON CONFLICT (process) DO UPDATE SET present_until = excluded.present_until",
        )
        .bind(self.id)
        .bind(self.role)
        .bind(&self.name)
        .bind(&self.url)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(self.started_at.as_datetime())
        .bind(PRESENT.as_secs_f64())
        .execute(&mut control)
        .await?;
        sqlx::query("DELETE FROM processes WHERE present_until < clock_timestamp() - interval '10 minutes'")
            .execute(&mut control)
            .await?;
        control.close().await
    }

    async fn remove(&self) -> Result<(), sqlx::Error> {
        let mut control = PgConnection::connect(&self.control).await?;
        sqlx::query("DELETE FROM processes WHERE process = $1")
            .bind(self.id)
            .execute(&mut control)
            .await?;
        control.close().await
    }
}

/// Where others reach what listens there: an address that stands for all of them is of no use.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("{}:{}", host(), address.port())
    } else {
        address.to_string()
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_listener_on_every_address_then_the_hosts_name_is_shown() {
        assert_eq!(reachable(([127, 0, 0, 1], 80).into()), "127.0.0.1:80");
        assert_eq!(reachable(([0, 0, 0, 0], 80).into()), format!("{}:80", host()));
        assert!(!host().is_empty());
    }
}
