//! One shard: whether it takes events, what it owns, how far it is published.

use event_store::{Incarnation, Slot, SlotPosition};
use relay::Published;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use super::{ranges, within};
use crate::blockers::{Blocker, blockers};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShardView {
    pub(crate) shard: i16,
    /// `open`, `restored`, `promoted`, `standby`; `unreachable` with the reason in `problem`.
    pub(crate) state: String,
    pub(crate) problem: Option<String>,
    /// The owned slots, as ranges.
    pub(crate) slots: String,
    /// How many those are.
    pub(crate) owned: usize,
    /// Events in the log of the slots it owns.
    pub(crate) events: i64,
    /// The highest incarnation among its slots.
    pub(crate) incarnation: i32,
    /// Standbys that stream from its server just now.
    pub(crate) standbys: i64,
    /// Whether the server keeps what it acknowledges through a crash.
    pub(crate) durable: bool,
    pub(crate) published: Option<PublishedView>,
    /// Sessions that others wait for.
    pub(crate) blockers: Vec<Blocker>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PublishedView {
    /// Events not acknowledged by Kafka yet.
    pub(crate) lag_events: i64,
    /// `host:process` of the relay that publishes it.
    pub(crate) relay: Option<String>,
    pub(crate) rewinds: i64,
}

/// Where an owned slot stands.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) slot: Slot,
    pub(super) position: SlotPosition,
    pub(super) incarnation: Incarnation,
}

pub(super) async fn look(id: i16, url: &str, topic: &str) -> (ShardView, Vec<Head>) {
    match within(read(id, url, topic)).await {
        Ok(read) => read,
        Err(problem) => {
            let view = ShardView {
                shard: id,
                state: "unreachable".to_owned(),
                problem: Some(problem),
                slots: String::new(),
                owned: 0,
                events: 0,
                incarnation: 0,
                standbys: 0,
                durable: true,
                published: None,
                // What keeps it from answering may be a session that can be named.
                blockers: within(in_the_way(url)).await.unwrap_or_default(),
            };
            (view, vec![])
        }
    }
}

async fn in_the_way(url: &str) -> Result<Vec<Blocker>, sqlx::Error> {
    let mut shard = PgConnection::connect(url).await?;
    let found = blockers(&mut shard).await?;
    shard.close().await?;
    Ok(found)
}

async fn read(id: i16, url: &str, topic: &str) -> Result<(ShardView, Vec<Head>), sqlx::Error> {
    let mut shard = PgConnection::connect(url).await?;
    let (state, in_recovery, standbys, durable): (String, bool, i64, bool) = sqlx::query_as(
        "SELECT s.state, pg_is_in_recovery(), \
                (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'), \
                current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off' \
                AND current_setting('full_page_writes') = 'on' \
           FROM shard s",
    )
    .fetch_one(&mut shard)
    .await?;
    let rows: Vec<(i16, i64, i32)> =
        sqlx::query_as("SELECT slot, slot_position, incarnation FROM slots WHERE owned ORDER BY slot")
            .fetch_all(&mut shard)
            .await?;
    let published = relay::published(&mut shard, topic).await?;
    let blockers = blockers(&mut shard).await?;
    shard.close().await?;
    let head = |(slot, position, incarnation): (i16, i64, i32)| {
        Some(Head {
            slot: u16::try_from(slot).ok().map(Slot)?,
            position: SlotPosition(position),
            incarnation: Incarnation(incarnation),
        })
    };
    let heads: Vec<Head> = rows.into_iter().filter_map(head).collect();
    let view = ShardView {
        shard: id,
        state: if in_recovery { "standby".to_owned() } else { state },
        problem: None,
        slots: ranges(heads.iter().map(|head| head.slot.0)),
        owned: heads.len(),
        events: heads.iter().map(|head| head.position.0).sum(),
        incarnation: heads.iter().map(|head| head.incarnation.0).max().unwrap_or_default(),
        standbys,
        durable,
        published: published.map(published_view),
        blockers,
    };
    Ok((view, heads))
}

fn published_view(published: Published) -> PublishedView {
    PublishedView {
        lag_events: published.head.0 - published.position.0,
        relay: published.holder,
        rewinds: published.rewinds,
    }
}
