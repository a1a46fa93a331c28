//! Whether the source's relays have published what is theirs of a slot.
//!
//! Only then may the target's publish what comes after, or the order of a slot in Kafka would depend on
//! who is faster. A relay that is away is waited for, because when it is back it will publish the rest.

use sqlx::PgPool;

use crate::error::Error;

/// A topic that lacks events of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lagging {
    topic: String,
    published: i64,
    /// Whether a relay holds the lease.
    held: bool,
}

impl std::fmt::Display for Lagging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { topic, published, held } = self;
        let relay = if *held { "" } else { ", and no relay is at it" };
        write!(f, "topic {topic} has the shard's events up to {published}{relay}")
    }
}

/// The topics that a shard is published to.
pub(super) async fn topics(shard: &PgPool) -> Result<Vec<String>, Error> {
    sqlx::query_scalar("SELECT topic FROM relay_cursors")
        .fetch_all(shard)
        .await
        .map_err(Error::read)
}

/// The topics that lack an event of the source up to position `upto`. A topic of the target's to which
/// no relay has published the source yet is one of them.
pub(super) async fn lagging(
    source: &PgPool,
    topics_of_target: &[String],
    abandoned: &[String],
    upto: i64,
) -> Result<Vec<Lagging>, Error> {
    let rows: Vec<(String, i64, bool)> = sqlx::query_as(
        "SELECT t.topic, coalesce(c.position, 0), coalesce(c.lease_until >= clock_timestamp(), false) \
           FROM (SELECT topic FROM relay_cursors UNION SELECT unnest($1::text[])) t \
           LEFT JOIN relay_cursors c ON c.topic = t.topic \
          WHERE t.topic <> ALL ($2) AND coalesce(c.position, 0) < $3 ORDER BY t.topic",
    )
    .bind(topics_of_target)
    .bind(abandoned)
    .bind(upto)
    .fetch_all(source)
    .await
    .map_err(Error::read)?;
    let lagging = |(topic, published, held)| Lagging { topic, published, held };
    Ok(rows.into_iter().map(lagging).collect())
}
