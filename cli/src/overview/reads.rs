//! One read store or standby: how far its read models are behind the log.

use std::collections::HashMap;

use event_store::Slot;
use serde::Serialize;
use service::settings::ReadStoreSettings;
use sqlx::{Connection, PgConnection};

use super::shard::Head;
use super::within;
use crate::blockers::{Blocker, blockers};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReadStoreView {
    pub(crate) store: String,
    /// The standby's name; `None` for the store itself.
    pub(crate) standby: Option<String>,
    /// `ok`, or `unreachable` with the reason in `problem`.
    pub(crate) state: String,
    pub(crate) problem: Option<String>,
    /// Events in the log and not in the read model that is furthest behind.
    pub(crate) lag_events: i64,
    /// On a standby: the age of the last change replayed, while there is more to replay.
    pub(crate) replay_lag_ms: Option<f64>,
    pub(crate) parked_streams: i64,
    /// Slots read beyond the log's end: the read model must be rebuilt.
    pub(crate) slots_ahead: i64,
    /// Sessions that others wait for.
    pub(crate) blockers: Vec<Blocker>,
}

pub(super) struct Endpoint<'a> {
    store: &'a str,
    standby: Option<&'a str>,
    url: &'a str,
}

/// The least checkpoint of each slot, over the read models that are served.
pub(super) type Reached = HashMap<Slot, i64>;

pub(super) fn endpoints(stores: &[ReadStoreSettings]) -> Vec<Endpoint<'_>> {
    let mut endpoints = Vec::new();
    for store in stores {
        endpoints.push(Endpoint {
            store: &store.name,
            standby: None,
            url: store.url.expose(),
        });
        endpoints.extend(store.replicas.iter().map(|replica| Endpoint {
            store: &store.name,
            standby: Some(&replica.name),
            url: replica.url.expose(),
        }));
    }
    endpoints
}

struct Checkpoints {
    /// read model, slot, position, incarnation, parked streams
    rows: Vec<(String, i32, i64, i32, i64)>,
    replay_lag_ms: Option<f64>,
    blockers: Vec<Blocker>,
}

pub(super) async fn look(endpoint: Endpoint<'_>, heads: &[Head]) -> (ReadStoreView, Reached) {
    let mut view = ReadStoreView {
        store: endpoint.store.to_owned(),
        standby: endpoint.standby.map(str::to_owned),
        state: "ok".to_owned(),
        problem: None,
        lag_events: 0,
        replay_lag_ms: None,
        parked_streams: 0,
        slots_ahead: 0,
        blockers: vec![],
    };
    match within(read(endpoint.url)).await {
        Ok(checkpoints) => {
            let reached = compare(&mut view, &checkpoints, heads);
            view.blockers = checkpoints.blockers;
            (view, reached)
        }
        Err(problem) => {
            view.state = "unreachable".to_owned();
            view.problem = Some(problem);
            (view, Reached::new())
        }
    }
}

async fn read(url: &str) -> Result<Checkpoints, sqlx::Error> {
    let mut store = PgConnection::connect(url).await?;
    let rows = sqlx::query_as(
        "SELECT read_model, slot, slot_position, incarnation, parked \
           FROM meta.checkpoints JOIN meta.read_models USING (read_model, generation)",
    )
    .fetch_all(&mut store)
    .await?;
    let replay_lag_ms = sqlx::query_scalar(
        "SELECT CASE WHEN pg_is_in_recovery() THEN \
                CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
                     ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 END \
                END::double precision",
    )
    .fetch_one(&mut store)
    .await?;
    let blockers = blockers(&mut store).await?;
    store.close().await?;
    Ok(Checkpoints {
        rows,
        replay_lag_ms,
        blockers,
    })
}

fn compare(view: &mut ReadStoreView, checkpoints: &Checkpoints, heads: &[Head]) -> Reached {
    let heads: HashMap<Slot, &Head> = heads.iter().map(|head| (head.slot, head)).collect();
    let mut lags: HashMap<&str, i64> = HashMap::new();
    let mut reached = Reached::new();
    for (read_model, slot, position, incarnation, parked) in &checkpoints.rows {
        view.parked_streams += parked;
        let slot = u16::try_from(*slot).ok().map(Slot);
        let Some(head) = slot.and_then(|slot| heads.get(&slot)) else {
            continue;
        };
        *lags.entry(read_model).or_default() += (head.position.0 - position).max(0);
        if *position > head.position.0 && *incarnation <= head.incarnation.0 {
            view.slots_ahead += 1;
        }
        let least = reached.entry(head.slot).or_insert(*position);
        *least = (*least).min(*position);
    }
    view.lag_events = lags.values().copied().max().unwrap_or_default();
    view.replay_lag_ms = checkpoints.replay_lag_ms;
    reached
}
