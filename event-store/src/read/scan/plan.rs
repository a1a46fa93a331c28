//! What of which shard a scan reads.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::Timestamp;

use crate::error::Error;
use crate::follow::{Cursor, refuse_what_was_lost};
use crate::ids::{Incarnation, Position, ShardId, Slot, SlotPosition};
use crate::read::SlotHead;
use crate::read::filter::LogFilter;
use crate::store::EventStore;
use crate::token::PositionToken;

/// Part of a slot: what lies behind `after`, up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) after: SlotPosition,
    pub(super) until: SlotPosition,
    pub(super) incarnation: Incarnation,
}

impl SlotRange {
    fn events(self) -> i64 {
        (self.until.0 - self.after.0).max(0)
    }
}

/// What is read of one shard.
#[derive(Debug)]
pub(super) struct ShardRange {
    pub(super) shard: ShardId,
    /// Only slots of which something is read.
    pub(super) slots: BTreeMap<Slot, SlotRange>,
    /// Everything of these slots lies behind `after` and up to `until`.
    pub(super) after: Position,
    pub(super) until: Position,
}

pub(super) struct Plan {
    pub(super) shards: Vec<ShardRange>,
    pub(super) until: Cursor,
    pub(super) to_look_at: u64,
}

impl Plan {
    pub(super) async fn make(
        store: &EventStore,
        filter: &LogFilter,
        after: &Cursor,
        until: Option<&Cursor>,
    ) -> Result<Self, Error> {
        let mut plan = Self {
            shards: Vec::new(),
            until: Cursor::default(),
            to_look_at: 0,
        };
        for (shard, heads) in places(store).await? {
            if filter.wants_shard(shard) {
                plan.add(store, filter, (after, until), shard, heads).await?;
            }
        }
        Ok(plan)
    }

    async fn add(
        &mut self,
        store: &EventStore,
        filter: &LogFilter,
        (after, until): (&Cursor, Option<&Cursor>),
        shard: ShardId,
        heads: Vec<SlotHead>,
    ) -> Result<(), Error> {
        refuse_what_was_lost(store, shard, after).await?;
        let mut slots = BTreeMap::new();
        for head in heads.into_iter().filter(|head| filter.wants_slot(head.slot)) {
            let range = SlotRange {
                after: after.position(head.slot),
                until: end(head, until)?,
                incarnation: head.incarnation,
            };
            slots.insert(head.slot, range);
        }
        if let Some(from) = filter.from {
            for (slot, before) in recorded_before(store, shard, &slots, from).await? {
                slots.entry(slot).and_modify(|range| range.after = before);
            }
        }
        if let Some(to) = filter.to {
            for (slot, before) in recorded_before(store, shard, &slots, to).await? {
                slots.entry(slot).and_modify(|range| range.until = before);
            }
        }
        for (slot, range) in &slots {
            self.until.set(PositionToken {
                slot: *slot,
                incarnation: range.incarnation,
                slot_position: range.until.max(range.after),
            });
        }
        slots.retain(|_, range| range.events() > 0);
        if slots.is_empty() {
            return Ok(());
        }
        let events: i64 = slots.values().map(|range| range.events()).sum();
        self.to_look_at += u64::try_from(events).unwrap_or_default();
        let (after, until) = positions(store, shard, &slots).await?;
        self.shards.push(ShardRange {
            shard,
            slots,
            after,
            until,
        });
        Ok(())
    }
}

fn end(head: SlotHead, until: Option<&Cursor>) -> Result<SlotPosition, Error> {
    let Some(until) = until else {
        return Ok(head.slot_position);
    };
    let asked = until.position(head.slot);
    if asked > head.slot_position {
        return Err(Error::Misconfigured(format!(
            "slot {} ends at {}, and the cursor to read until says {asked}: it is of another log, or of one that was \
             restored since",
            head.slot, head.slot_position
        )));
    }
    Ok(asked)
}

/// Where each slot is read: at its owner. One that just now is nobody's is on its way from one shard
/// to another, and the shard that has most of it has all of it.
async fn places(store: &EventStore) -> Result<BTreeMap<ShardId, Vec<SlotHead>>, Error> {
    let mut best: BTreeMap<Slot, (ShardId, SlotHead)> = BTreeMap::new();
    let rank = |head: &SlotHead| (head.owned, head.slot_position);
    for shard in store.shards() {
        for head in store.heads(shard).await? {
            let place = best.entry(head.slot).or_insert((shard, head));
            if rank(&head) > rank(&place.1) {
                *place = (shard, head);
            }
        }
    }
    let mut shards: BTreeMap<ShardId, Vec<SlotHead>> = BTreeMap::new();
    for (shard, head) in best.into_values() {
        shards.entry(shard).or_default().push(head);
    }
    Ok(shards)
}

/// The last position of each slot, within its range, that was recorded before `time`. Found by
/// halving, because times never go back within a slot.
async fn recorded_before(
    store: &EventStore,
    shard: ShardId,
    slots: &BTreeMap<Slot, SlotRange>,
    time: Timestamp,
) -> Result<Vec<(Slot, SlotPosition)>, Error> {
    let (mut names, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
    for (slot, range) in slots.iter().filter(|(_, range)| range.events() > 0) {
        names.push(slot.as_i16());
        lows.push(range.after.0);
        highs.push(range.until.0);
    }
    let time: DateTime<Utc> = time.as_datetime();
    // LIMIT keeps each step a look-up by key.
    let found: Vec<(i16, i64)> = sqlx::query_as(
        "WITH RECURSIVE search AS ( \
             SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS r (slot, low, high) \
             UNION ALL \
             SELECT s.slot, CASE WHEN e.recorded_at < $4 THEN m.middle ELSE s.low END, \
                            CASE WHEN e.recorded_at < $4 THEN s.high ELSE m.middle - 1 END \
               FROM search s \
              CROSS JOIN LATERAL (SELECT (s.low + s.high + 1) / 2 AS middle) m \
              CROSS JOIN LATERAL (SELECT e.recorded_at FROM events e \
                                   WHERE e.slot = s.slot AND e.slot_position = m.middle LIMIT 1) e \
              WHERE s.low < s.high) \
         SELECT slot, low FROM search WHERE low = high",
    )
    .bind(names)
    .bind(lows)
    .bind(highs)
    .bind(time)
    .fetch_all(&store.shard(shard)?.pool)
    .await
    .map_err(Error::read)?;
    let found = found.into_iter();
    Ok(found
        .filter_map(|(slot, position)| Some((Slot::from_i16(slot)?, SlotPosition(position))))
        .collect())
}

/// The part of the shard's log that these ranges of its slots lie in.
async fn positions(
    store: &EventStore,
    shard: ShardId,
    slots: &BTreeMap<Slot, SlotRange>,
) -> Result<(Position, Position), Error> {
    let (mut names, mut firsts, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
    for (slot, range) in slots {
        names.push(slot.as_i16());
        firsts.push(range.after.0 + 1);
        lasts.push(range.until.0);
    }
    let (first, last): (Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT min(f.position), max(l.position) \
           FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS r (slot, first, last) \
           LEFT JOIN LATERAL (SELECT e.position FROM events e \
                               WHERE e.slot = r.slot AND e.slot_position = r.first LIMIT 1) f ON true \
           LEFT JOIN LATERAL (SELECT e.position FROM events e \
                               WHERE e.slot = r.slot AND e.slot_position = r.last LIMIT 1) l ON true",
    )
    .bind(names)
    .bind(firsts)
    .bind(lasts)
    .fetch_one(&store.shard(shard)?.pool)
    .await
    .map_err(Error::read)?;
    Ok((Position(first.unwrap_or(1) - 1), Position(last.unwrap_or_default())))
}
