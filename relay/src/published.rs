//! How far a shard is published, for whoever is not its relay: consumers that look for losses, and
//! operators.

use event_store::{Incarnation, Position, Slot, SlotPosition};
use sqlx::PgConnection;

/// How far a shard is published to a topic, and who is at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Everything up to here was acknowledged by Kafka.
    pub position: Position,
    /// The end of the shard's log.
    pub head: Position,
    /// How often publishing was set back.
    pub rewinds: i64,
    /// `host:process` of the relay that holds the lease; `None` where nobody does.
    pub holder: Option<String>,
}

/// How far the shard of this connection is published to `topic`; `None` where no relay ever came.
///
/// # Errors
/// Where the shard cannot be read.
pub async fn published(shard: &mut PgConnection, topic: &str) -> Result<Option<Published>, sqlx::Error> {
    let row: Option<(i64, i64, i64, Option<String>)> = sqlx::query_as(
        "SELECT c.position, s.position, c.rewinds, \
                CASE WHEN c.lease_until >= clock_timestamp() THEN coalesce(m.name, c.holder::text) END \
           FROM relay_cursors c CROSS JOIN shard s \
           LEFT JOIN relay_members m ON m.topic = c.topic AND m.relay = c.holder \
          WHERE c.topic = $1",
    )
    .bind(topic)
    .fetch_optional(shard)
    .await?;
    Ok(row.map(|(position, head, rewinds, holder)| Published {
        position: Position(position),
        head: Position(head),
        rewinds,
        holder,
    }))
}

/// Where a slot stands, and whether Kafka was given all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedHead {
    pub slot: Slot,
    pub slot_position: SlotPosition,
    pub incarnation: Incarnation,
    /// Whether Kafka has acknowledged everything up to `slot_position`: a consumer that has since
    /// read the partition to its end and has not got there has lost something.
    pub published: bool,
}

/// The slots that the shard of this connection owns and that have events, seen at one moment.
///
/// # Errors
/// Where the shard cannot be read.
pub async fn published_heads(shard: &mut PgConnection, topic: &str) -> Result<Vec<PublishedHead>, sqlx::Error> {
    let rows: Vec<(i16, i64, i32, bool)> = sqlx::query_as(
        "SELECT s.slot, s.slot_position, s.incarnation, coalesce(e.position <= c.position, false) \
           FROM slots s \
           JOIN events e ON e.slot = s.slot AND e.slot_position = s.slot_position \
           LEFT JOIN relay_cursors c ON c.topic = $1 \
          WHERE s.owned AND s.slot_position > 0 ORDER BY s.slot",
    )
    .bind(topic)
    .fetch_all(shard)
    .await?;
    let head = |(slot, slot_position, incarnation, published): (i16, i64, i32, bool)| {
        let slot = u16::try_from(slot).ok()?;
        let (slot_position, incarnation) = (SlotPosition(slot_position), Incarnation(incarnation));
        Some(PublishedHead {
            slot: Slot(slot),
            slot_position,
            incarnation,
            published,
        })
    };
    Ok(rows.into_iter().filter_map(head).collect())
}

/// Has everything after `to` published again; whoever holds the lease loses it and the next holder
/// starts there. Returns where the cursor stands then: never further than it did.
///
/// # Errors
/// Where the shard cannot be written.
pub async fn rewind(shard: &mut PgConnection, topic: &str, to: Position) -> Result<Option<Position>, sqlx::Error> {
    let position: Option<i64> = sqlx::query_scalar(
        "UPDATE relay_cursors SET position = least(position, $2), rewinds = rewinds + 1, term = term + 1, \
                settled_position = least(settled_position, $2), settled_ends = '{}', \
                holder = NULL, lease_until = '-infinity' \
          WHERE topic = $1 RETURNING position",
    )
    .bind(topic)
    .bind(to.0)
    .fetch_optional(shard)
    .await?;
    Ok(position.map(Position))
}
