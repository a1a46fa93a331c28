//! How far read models are behind the log, in events and in time: the generations that are served.

use std::collections::BTreeMap;
use std::time::Duration;

use event_store::{ShardId, Slot, SlotHead, SlotPosition};

use crate::engine::Engine;
use crate::feed::Log;
use crate::generation::Generation;
use crate::intake::Run;
use crate::progress::Progress;

/// Slots whose oldest unapplied event is looked up per comparison and read model.
const SAMPLED_SLOTS: usize = 8;

/// Counts a committed batch, and how long after being recorded its newest event became visible.
pub(crate) fn record_batch(runs: &[Run], events: usize, took: Duration) {
    metrics::counter!("projector_events_total").increment(events as u64);
    metrics::histogram!("projector_batch_events").record(events as f64);
    metrics::histogram!("projector_batch_ms").record(took.as_secs_f64() * 1_000.0);
    let newest = runs
        .iter()
        .filter_map(|run| run.events.last())
        .map(|event| event.recorded.recorded_at)
        .max();
    if let Some(newest) = newest {
        metrics::histogram!("projector_commit_to_visible_ms").record(age_ms(newest));
    }
}

pub(crate) fn age_ms(recorded_at: domain::Timestamp) -> f64 {
    let age = service::edge::now().as_datetime() - recorded_at.as_datetime();
    // Clocks of two machines differ; nothing is visible before it is recorded.
    age.num_microseconds().unwrap_or(i64::MAX).max(0) as f64 / 1_000.0
}

/// Measures every read model against the heads of a part of the log, of the slots that are ours.
pub(crate) fn measure(feed: ShardId, part: ShardId, engine: &Engine, heads: &[SlotHead], progress: &Progress) {
    let served = |(_, generation): &(usize, &Generation)| generation.served;
    for (model, generation) in engine.generations().iter().enumerate().filter(served) {
        let lag = |head: &SlotHead| head.slot_position.0 - engine.checkpoint(model, head.slot).slot_position.0;
        let events: i64 = heads.iter().map(lag).filter(|events| *events > 0).sum();
        metrics::gauge!("projector_lag_events", &labels(generation.read_model, feed, part)).set(events as f64);
        progress.update(feed, |status| {
            status.lag_of_parts.insert((generation.read_model, part), events);
            let all = status.lag_of_parts.iter();
            let sum = all.filter(|((read_model, _), _)| *read_model == generation.read_model);
            let sum = sum.map(|(_, events)| events).sum();
            status.lag_events.insert(generation.read_model, sum);
        });
    }
}

fn labels(read_model: &'static str, feed: ShardId, part: ShardId) -> [(&'static str, String); 3] {
    [
        ("read_model", read_model.to_owned()),
        ("shard", part.to_string()),
        ("feed", feed.to_string()),
    ]
}

/// The positions whose next events are asked for their age: of each read model, those behind the
/// most.
pub(crate) fn samples(engine: &Engine, heads: &[SlotHead]) -> Vec<(&'static str, Slot, SlotPosition)> {
    let mut samples = vec![];
    let served = |(_, generation): &(usize, &Generation)| generation.served;
    for (model, generation) in engine.generations().iter().enumerate().filter(served) {
        let at = |head: &SlotHead| engine.checkpoint(model, head.slot).slot_position;
        let mut lagging: Vec<&SlotHead> = heads.iter().filter(|head| head.slot_position > at(head)).collect();
        lagging.sort_by_key(|head| std::cmp::Reverse(head.slot_position.0 - at(head).0));
        let most = lagging.into_iter().take(SAMPLED_SLOTS);
        samples.extend(most.map(|head| (generation.read_model, head.slot, at(head))));
    }
    samples
}

/// Measures the age of the oldest of the samples' next events.
pub(crate) async fn ages<L: Log>(
    feed: ShardId,
    part: ShardId,
    read_models: Vec<&'static str>,
    samples: Vec<(&'static str, Slot, SlotPosition)>,
    log: &L,
) {
    let mut oldest: BTreeMap<&'static str, f64> = read_models.into_iter().map(|name| (name, 0.0)).collect();
    let mut known: BTreeMap<(Slot, SlotPosition), f64> = BTreeMap::new();
    for (read_model, slot, at) in samples {
        let age = match known.get(&(slot, at)) {
            Some(age) => *age,
            // Only a figure: where the log fails, the next look at it says so.
            None => match log.read_slot(slot, at, 1).await {
                Ok(next) => next.first().map_or(0.0, |event| age_ms(event.recorded_at)),
                Err(_) => return,
            },
        };
        known.insert((slot, at), age);
        let oldest = oldest.entry(read_model).or_default();
        *oldest = oldest.max(age);
    }
    for (read_model, ms) in oldest {
        metrics::gauge!("projector_lag_ms", &labels(read_model, feed, part)).set(ms);
    }
}

/// Counts parked streams. Only a figure: where the read store fails, the next batch says so.
pub(crate) async fn parked(shard: ShardId, engine: &Engine, progress: &Progress) {
    for generation in engine.generations().iter().filter(|it| it.served) {
        let streams: Result<i64, sqlx::Error> = sqlx::query_scalar(
            "SELECT coalesce(sum(parked), 0)::bigint FROM meta.checkpoints WHERE read_model = $1 AND generation = $2",
        )
        .bind(generation.read_model)
        .bind(generation.number)
        .fetch_one(engine.read_store())
        .await;
        let Ok(streams) = streams else { return };
        metrics::gauge!("projector_parked_streams", "read_model" => generation.read_model).set(streams as f64);
        progress.update(shard, |status| {
            status.parked_streams.insert(generation.read_model, streams);
        });
    }
}
