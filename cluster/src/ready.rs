//! Waiting until everything works: every process says so, and the read store has what the log has.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use crate::{Error, Process};

const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) fn client() -> Result<reqwest::Client, Error> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()?;
    Ok(client)
}

/// Waits until each of them is ready.
pub(crate) async fn all(processes: &[&Process], limit: Duration) -> Result<(), Error> {
    let client = client()?;
    let begun = Instant::now();
    for process in processes {
        while let Err(waiting_for) = answers(&client, process, "/health/ready").await {
            process.alive()?;
            give_up_after(limit, begun, waiting_for)?;
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// Waits until nginx gets through to both APIs.
pub(crate) async fn through(gateway: &Process, limit: Duration) -> Result<(), Error> {
    let client = client()?;
    let begun = Instant::now();
    for path in ["/health/ready", "/query/health/ready"] {
        while let Err(waiting_for) = answers(&client, gateway, path).await {
            gateway.alive()?;
            give_up_after(limit, begun, waiting_for)?;
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

async fn answers(client: &reqwest::Client, process: &Process, path: &str) -> Result<(), String> {
    let said = |problem: String| format!("{}: {problem}", process.name());
    let url = format!("{}{path}", process.url());
    let answer = client.get(url).send().await.map_err(|error| said(error.to_string()))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    Err(said(format!("{status} {}", answer.text().await.unwrap_or_default())))
}

/// Waits until every read model of the read store has what the shards had when asked.
pub(crate) async fn caught_up(shards: &[String], read_store: &str, limit: Duration) -> Result<(), Error> {
    let begun = Instant::now();
    let mut heads = HashMap::new();
    for shard in shards {
        let mut shard = PgConnection::connect(shard).await?;
        let of_shard = "select slot::int, slot_position from slots where owned and slot_position > 0";
        heads.extend(sqlx::query_as::<_, (i32, i64)>(of_shard).fetch_all(&mut shard).await?);
    }
    let mut reads = PgConnection::connect(read_store).await?;
    loop {
        let current = "select c.read_model, c.slot, c.slot_position
                       from meta.checkpoints c join meta.read_models using (read_model, generation)";
        let checkpoints: Vec<(String, i32, i64)> = sqlx::query_as(current).fetch_all(&mut reads).await?;
        let behind = checkpoints.iter().find_map(|(model, slot, at)| {
            let head = heads.get(slot).filter(|head| *head > at)?;
            Some(format!("{model} has read slot {slot} to {at} of {head}"))
        });
        match behind {
            None if !checkpoints.is_empty() => return Ok(()),
            None => give_up_after(limit, begun, "the read models are not there".to_owned())?,
            Some(behind) => give_up_after(limit, begun, behind)?,
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn give_up_after(limit: Duration, begun: Instant, waiting_for: String) -> Result<(), Error> {
    if begun.elapsed() < limit {
        return Ok(());
    }
    Err(Error::NotReady {
        seconds: limit.as_secs(),
        waiting_for,
    })
}
