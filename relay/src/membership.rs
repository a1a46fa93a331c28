//! Which relay should publish which shard.

use event_store::ShardId;
use uuid::Uuid;

/// The relay that a shard falls to: shards go around the relays that are present, in the order of
/// both their ids. Every relay sees nearly the same and comes to nearly the same answer; where two
/// differ for a moment, the lease decides.
pub(crate) fn designated(shard: ShardId, shards: &[ShardId], present: &[Uuid]) -> Option<Uuid> {
    let mut present = present.to_vec();
    present.sort_unstable();
    present.dedup();
    let rank = shards.iter().filter(|other| **other < shard).count();
    let at = rank.checked_rem(present.len())?;
    present.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    #[test]
    fn shares_differ_by_one_at_most() {
        let shards: Vec<_> = [7, 1, 4, 2, 9].map(ShardId).into();
        for count in 1..=6 {
            let present = relays(count);
            let of = |relay: &Uuid| {
                shards
                    .iter()
                    .filter(|it| designated(**it, &shards, &present) == Some(*relay))
                    .count()
            };
            let shares: Vec<_> = present.iter().map(of).collect();
            assert_eq!(shares.iter().sum::<usize>(), shards.len());
            assert!(
                shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1,
                "{shares:?}"
            );
        }
    }

    #[test]
    fn the_order_in_which_they_are_seen_does_not_matter() {
        let shards = [ShardId(0), ShardId(1)];
        let (mut one, other) = (relays(3), relays(3));
        one.reverse();
        for shard in shards {
            assert_eq!(designated(shard, &shards, &one), designated(shard, &shards, &other));
        }
        assert_eq!(designated(ShardId(0), &shards, &[]), None);
    }
}
