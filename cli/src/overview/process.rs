//! The processes that wrote themselves into the control database, and how they say they are.

use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::within;
use crate::registry::{self, Registered};

const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProcessView {
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) version: String,
    pub(crate) started_at: String,
    /// What it says of itself: ok, degraded, down; `unreachable`, or `gone` where it was not heard
    /// of for a while and does not answer.
    pub(crate) state: String,
    /// Each part that is not ok, with what to do.
    pub(crate) problems: Vec<String>,
}

pub(super) async fn look(control: &str) -> Option<Vec<ProcessView>> {
    let read = async {
        let mut connection = PgConnection::connect(control).await?;
        let found = registry::processes(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(found)
    };
    let found = within(read).await.ok()?;
    let client = reqwest::Client::builder().timeout(HEALTH_PATIENCE).build().ok()?;
    let successors: Vec<String> = found.iter().filter(|it| it.present).map(|it| it.url.clone()).collect();
    // One that is gone may have a successor at its address, whose answer is not its own.
    let replaced = |process: &Registered| !process.present && successors.contains(&process.url);
    let views = found.into_iter().map(|process| {
        let asked = !replaced(&process);
        view(&client, process, asked)
    });
    Some(futures::future::join_all(views).await)
}

async fn view(client: &reqwest::Client, process: Registered, asked: bool) -> ProcessView {
    let report = match asked {
        true => ask(client, &process.url).await,
        false => None,
    };
    let (state, problems) = match report {
        Some(report) => read(&report),
        None if process.present => ("unreachable".to_owned(), vec![]),
        None => ("gone".to_owned(), vec![]),
    };
    ProcessView {
        role: process.role,
        name: process.name,
        url: process.url,
        version: process.version,
        started_at: process.started_at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        state,
        problems,
    }
}

/// Every part's state, whatever the status code says.
async fn ask(client: &reqwest::Client, url: &str) -> Option<serde_json::Value> {
    client.get(format!("{url}/health")).send().await.ok()?.json().await.ok()
}

fn read(report: &serde_json::Value) -> (String, Vec<String>) {
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let parts = report["parts"].as_object();
    let problems = parts.into_iter().flatten().filter(|(_, part)| part["status"] != "ok");
    let problems = problems.map(|(name, part)| format!("{name}: {} ({})", text(part, "detail"), text(part, "remedy")));
    (text(report, "status"), problems.collect())
}
