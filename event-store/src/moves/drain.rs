//! Whether the source's relays have published what is theirs of a slot.
//!
//! Only then may the target's publish what comes after, or the order of a slot in Kafka would depend on
//! who is faster. A relay that is away is waited for, because when it is back it will publish the rest.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;

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

/// How quickly relays publish a slot that still takes appends.
///
/// While orders come, a relay is always a little behind, so that to wait until it has everything could
/// take for ever. It is enough that what it lacks is published within the pause that writers are given.
#[derive(Debug)]
pub(super) struct Pace {
    /// Behind the fence relays may take that long.
    enough: Duration,
    /// An end of the slot, and when it was seen.
    mark: Option<(i64, Instant)>,
    /// How long they took to the mark before.
    took: Option<Duration>,
}

impl Pace {
    /// Half of the pause is left to everything else.
    pub(super) fn within(max_pause: Duration) -> Self {
        Self {
            enough: max_pause / 2,
            mark: None,
            took: None,
        }
    }

    /// What the relays are waited for: the end of the slot when it was asked for.
    pub(super) fn mark(&mut self, end: i64, now: Instant) -> i64 {
        self.mark.get_or_insert((end, now)).0
    }

    /// They have published up to the mark. Whether that was quick enough; otherwise the next end is
    /// waited for.
    pub(super) fn reached(&mut self, now: Instant) -> bool {
        let Some((_, since)) = self.mark.take() else {
            return false;
        };
        let took = now - since;
        self.took = Some(took);
        took <= self.enough
    }

    /// Why a move does not go on, and what to do.
    pub(super) fn complaint(&self, lagging: &str, upto: i64) -> String {
        let instead = "or take the move back with --undo; nothing was shut";
        match self.took {
            None => format!(
                "{lagging}, and the slot needs {upto}: start the relay and go on with --resume, name a topic that is \
                 published no more with --abandoned-topic, {instead}"
            ),
            Some(took) => format!(
                "its relay took {} ms to publish what was there, and {} ms is what writers may wait for that: go on \
                 with --resume when it is less busy, let them wait longer with --max-pause-ms, {instead}",
                took.as_millis(),
                self.enough.as_millis()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_relay_that_is_always_a_little_behind_then_its_pace_is_enough() {
        let (mut pace, now) = (Pace::within(Duration::from_secs(2)), Instant::now());
        assert_eq!(pace.mark(10, now), 10);
        let later = now + Duration::from_millis(900);
        assert_eq!(pace.mark(11, later), 10, "a later end does not move the mark");
        assert!(pace.reached(later));
    }

    #[test]
    fn given_a_relay_that_takes_too_long_then_the_next_end_is_waited_for() {
        let (mut pace, now) = (Pace::within(Duration::from_secs(2)), Instant::now());
        pace.mark(10, now);
        let later = now + Duration::from_millis(1_100);
        assert!(!pace.reached(later));
        let complaint = pace.complaint("", 25);
        assert!(
            complaint.starts_with("its relay took 1100 ms to publish"),
            "{complaint}"
        );
        assert_eq!(pace.mark(25, later), 25);
        assert!(pace.reached(later));
    }
}
