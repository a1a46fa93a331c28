//! Proposing moves that even out load.
//!
//! A slot's load is a share of the whole platform's, made of three: of the events that are stored (disk,
//! rebuilds, the time that moving takes), of the events that come just now (the head lock, flushes), and
//! of the slots (so that slots of which nothing is known yet are spread, too). The first two weigh 45 %
//! each, the last 10 %; where nothing is stored, or nothing comes, that part falls to the last.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use sqlx::PgPool;

use super::mover::Mover;
use crate::error::Error;
use crate::ids::{ShardId, Slot};

/// How many of a shard's last events tell how fast each of its slots grows.
const RECENT: i64 = 20_000;
const STORED_PART: f64 = 0.45;
const RECENT_PART: f64 = 0.45;
/// Shards whose loads differ by less than this part of the mean are even.
const TOLERANCE: f64 = 0.05;

/// What is known of a slot's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlotLoad {
    pub slot: Slot,
    pub shard: ShardId,
    /// Stored.
    pub events: i64,
    /// Appended of late.
    pub events_per_second: f64,
}

/// A move that is worth its while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposedMove {
    pub slot: Slot,
    pub source: ShardId,
    pub target: ShardId,
}

impl Mover {
    /// The load of every slot, by the shards that own them.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: every shard must be readable.
    pub async fn loads(&self) -> Result<Vec<SlotLoad>, Error> {
        let read = self.pools().map(|(id, pool)| read(id, pool.clone()));
        let mut loads: Vec<SlotLoad> = try_join_all(read.collect::<Vec<_>>()).await?.concat();
        loads.sort_by_key(|load| load.slot);
        Ok(loads)
    }
}

async fn read(shard: ShardId, pool: PgPool) -> Result<Vec<SlotLoad>, Error> {
    let rows: Vec<(i16, i64, f64)> = sqlx::query_as(
        "WITH recent AS ( \
             SELECT slot, recorded_at FROM events \
              WHERE position > (SELECT position FROM shard) - $1 AND NOT copied), \
         span AS (SELECT greatest(extract(epoch FROM clock_timestamp() - min(recorded_at))::float8, 1) AS seconds FROM recent) \
         SELECT s.slot, s.slot_position, \
                coalesce((SELECT count(*) FROM recent r WHERE r.slot = s.slot) / (SELECT seconds FROM span), 0)::float8 \
           FROM slots s WHERE s.owned OR s.fenced ORDER BY s.slot",
    )
    .bind(RECENT)
    .fetch_all(&pool)
    .await
    .map_err(Error::read)?;
    let load = |(slot, events, events_per_second)| {
        Some(SlotLoad {
            slot: Slot::from_i16(slot)?,
            shard,
            events,
            events_per_second,
        })
    };
    Ok(rows.into_iter().filter_map(load).collect())
}

/// Each slot's share of the platform's load; together 1.
pub fn shares(loads: &[SlotLoad]) -> Vec<f64> {
    let stored: f64 = loads.iter().map(|load| load.events as f64).sum();
    let recent: f64 = loads.iter().map(|load| load.events_per_second).sum();
    let part = |of: f64, total: f64, weight: f64| if total > 0.0 { weight * of / total } else { 0.0 };
    let weight = |total: f64, weight: f64| if total > 0.0 { weight } else { 0.0 };
    let rest = 1.0 - weight(stored, STORED_PART) - weight(recent, RECENT_PART);
    let share = |load: &SlotLoad| {
        part(load.events as f64, stored, STORED_PART)
            + part(load.events_per_second, recent, RECENT_PART)
            + rest / loads.len() as f64
    };
    loads.iter().map(share).collect()
}

/// The load of each shard: of those in `among`, and of those that have slots.
pub fn shard_loads(loads: &[SlotLoad], among: &[ShardId]) -> BTreeMap<ShardId, f64> {
    let mut shards: BTreeMap<ShardId, f64> = among.iter().map(|shard| (*shard, 0.0)).collect();
    for (load, share) in loads.iter().zip(shares(loads)) {
        *shards.entry(load.shard).or_default() += share;
    }
    shards
}

/// Moves after which the shards `among` carry about the same, and others nothing. Each slot at most once;
/// from the heaviest to the lightest shard, the slot that comes nearest to half of their difference.
pub fn propose_moves(loads: &[SlotLoad], among: &[ShardId]) -> Vec<ProposedMove> {
    if among.is_empty() {
        return Vec::new();
    }
    let shares = shares(loads);
    let mut at: Vec<ShardId> = loads.iter().map(|load| load.shard).collect();
    let mut now = shard_loads(loads, among);
    let carry = |nth: usize, to: ShardId, at: &mut [ShardId], now: &mut BTreeMap<ShardId, f64>| {
        *now.entry(at[nth]).or_default() -= shares[nth];
        *now.entry(to).or_default() += shares[nth];
        at[nth] = to;
    };
    // What stands elsewhere has to go, the heaviest first.
    let mut leaving: Vec<usize> = (0..loads.len()).filter(|nth| !among.contains(&at[*nth])).collect();
    leaving.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    for nth in leaving {
        if let Some(to) = lightest(&now, among) {
            carry(nth, to, &mut at, &mut now);
        }
    }
    let mean = 1.0 / among.len() as f64;
    // Every round moves a slot that was not moved before. Where the heaviest shard has none that helps,
    // the next one may have.
    for _ in 0..loads.len() {
        let Some(to) = lightest(&now, among) else { break };
        let mut givers: Vec<(ShardId, f64)> = among.iter().map(|shard| (*shard, now[shard] - now[&to])).collect();
        givers.retain(|(_, gap)| *gap > TOLERANCE * mean);
        givers.sort_by(|a, b| b.1.total_cmp(&a.1));
        let best = givers.into_iter().find_map(|(from, gap)| {
            let distance = |nth: &usize| (shares[*nth] - gap / 2.0).abs();
            let fits = |nth: &usize| at[*nth] == from && loads[*nth].shard == from && shares[*nth] < gap;
            let slots = (0..loads.len()).filter(fits).filter(|nth| shares[*nth] > 0.0);
            slots.min_by(|a, b| distance(a).total_cmp(&distance(b)))
        });
        let Some(best) = best else { break };
        carry(best, to, &mut at, &mut now);
    }
    let moved = loads.iter().zip(at).filter(|(load, to)| load.shard != *to);
    moved
        .map(|(load, target)| ProposedMove {
            slot: load.slot,
            source: load.shard,
            target,
        })
        .collect()
}

fn lightest(carried: &BTreeMap<ShardId, f64>, among: &[ShardId]) -> Option<ShardId> {
    among.iter().copied().min_by(|a, b| carried[a].total_cmp(&carried[b]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn load(slot: u16, shard: i16, events: i64, events_per_second: f64) -> SlotLoad {
        SlotLoad {
            slot: Slot(slot),
            shard: ShardId(shard),
            events,
            events_per_second,
        }
    }

    fn shards(count: i16) -> Vec<ShardId> {
        (0..count).map(ShardId).collect()
    }

    /// The loads with the moves made.
    fn after(loads: &[SlotLoad], moves: &[ProposedMove]) -> Vec<SlotLoad> {
        let target = |load: &SlotLoad| moves.iter().find(|it| it.slot == load.slot).map(|it| it.target);
        let at = |load: &SlotLoad| SlotLoad {
            shard: target(load).unwrap_or(load.shard),
            ..*load
        };
        loads.iter().map(at).collect()
    }

    fn heaviest_of(loads: &[SlotLoad], among: &[ShardId]) -> f64 {
        shard_loads(loads, among).into_values().fold(0.0, f64::max)
    }

    #[test]
    fn given_even_shards_then_nothing_is_moved() {
        let loads: Vec<_> = (0..1024)
            .map(|slot| load(slot, i16::try_from(slot % 4).unwrap(), 100, 1.0))
            .collect();
        assert_eq!(propose_moves(&loads, &shards(4)), []);
    }

    #[test]
    fn given_four_shards_that_are_to_be_sixteen_then_each_gets_a_sixteenth() {
        for events in [0, 1_000] {
            let loads: Vec<_> = (0..1024)
                .map(|slot| load(slot, i16::try_from(slot % 4).unwrap(), events, 0.0))
                .collect();
            let moves = propose_moves(&loads, &shards(16));
            let end = shard_loads(&after(&loads, &moves), &shards(16));
            assert!(end.values().all(|load| (load * 16.0 - 1.0).abs() < 0.06), "{end:?}");
            assert!((700..=800).contains(&moves.len()), "{} moves", moves.len());
        }
    }

    #[test]
    fn given_one_slot_that_takes_most_orders_then_its_neighbours_make_room_for_it() {
        let mut loads: Vec<_> = (0..64)
            .map(|slot| load(slot, i16::try_from(slot % 4).unwrap(), 100, 1.0))
            .collect();
        loads[0].events_per_second = 60.0;
        let moves = propose_moves(&loads, &shards(4));
        assert!(!moves.is_empty() && moves.iter().all(|it| it.source == ShardId(0) && it.slot != Slot(0)));
    }

    #[test]
    fn given_a_few_slots_that_take_all_orders_then_they_and_the_quiet_ones_are_spread_over_all_shards() {
        let events = |slot: u16| if slot.is_multiple_of(85) { 100 } else { 0 };
        let loads: Vec<_> = (0..1024)
            .map(|slot| {
                load(
                    slot,
                    i16::try_from(slot % 4).unwrap(),
                    events(slot),
                    events(slot) as f64,
                )
            })
            .collect();
        let end = after(&loads, &propose_moves(&loads, &shards(16)));
        let mut busy: Vec<_> = end
            .iter()
            .filter(|load| load.events > 0)
            .map(|load| load.shard)
            .collect();
        busy.sort_unstable();
        busy.dedup();
        assert_eq!(busy.len(), 13, "each has a shard of its own");
        assert!(
            shards(16)
                .iter()
                .all(|shard| end.iter().any(|load| load.shard == *shard))
        );
    }

    #[test]
    fn given_a_shard_that_is_not_among_those_wanted_then_it_is_emptied() {
        let loads: Vec<_> = (0..30)
            .map(|slot| load(slot, i16::try_from(slot % 3).unwrap(), 10, 0.0))
            .collect();
        let moves = propose_moves(&loads, &shards(2));
        let end = after(&loads, &moves);
        assert!(end.iter().all(|load| load.shard != ShardId(2)));
        assert!(heaviest_of(&end, &shards(2)) < 0.55);
    }

    proptest! {
        /// Whatever the loads: each slot once, from where it is, and no shard ends heavier than the
        /// heaviest was, unless others had to be emptied.
        #[test]
        fn nothing_is_made_worse(
            slots in prop::collection::vec((0_i16..6, 0_i64..5_000, 0.0_f64..100.0), 1..80),
            wanted in 1_i16..8,
        ) {
            let loads: Vec<_> = (0..).zip(&slots).map(|(slot, (shard, events, rate))| load(slot, *shard, *events, *rate)).collect();
            let among = shards(wanted);
            let moves = propose_moves(&loads, &among);
            let distinct: BTreeSet<_> = moves.iter().map(|it| it.slot).collect();
            prop_assert_eq!(distinct.len(), moves.len());
            for proposed in &moves {
                prop_assert!(proposed.source != proposed.target && among.contains(&proposed.target));
                prop_assert_eq!(loads[usize::from(proposed.slot.0)].shard, proposed.source);
            }
            let end = after(&loads, &moves);
            prop_assert!(end.iter().all(|load| among.contains(&load.shard)));
            let total: f64 = shares(&loads).iter().sum();
            prop_assert!((total - 1.0).abs() < 1e-9);
            if loads.iter().all(|load| among.contains(&load.shard)) {
                prop_assert!(heaviest_of(&end, &among) <= heaviest_of(&loads, &among) + 1e-9);
            }
        }
    }
}
