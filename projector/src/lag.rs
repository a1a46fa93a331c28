//! How far read models are behind the log, in events and in time.

use std::time::Duration;

use event_store::{ShardId, SlotHead};

use crate::engine::Engine;
use crate::feed::Log;
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

fn age_ms(recorded_at: domain::Timestamp) -> f64 {
    let age = service::edge::now().as_datetime() - recorded_at.as_datetime();
    // Clocks of two machines differ; nothing is visible before it is recorded.
    age.num_microseconds().unwrap_or(i64::MAX).max(0) as f64 / 1_000.0
}

/// Measures every read model against the heads of a shard's slots.
pub(crate) async fn measure<L: Log>(
    shard: ShardId,
    engine: &Engine,
    log: &L,
    heads: &[SlotHead],
    progress: &Progress,
) -> Result<(), event_store::Error> {
    for (model, generation) in engine.generations().iter().enumerate() {
        let mut lagging: Vec<(i64, &SlotHead)> = heads
            .iter()
            .filter(|head| head.owned)
            .map(|head| {
                (
                    head.slot_position.0 - engine.checkpoint(model, head.slot).slot_position.0,
                    head,
                )
            })
            .filter(|(events, _)| *events > 0)
            .collect();
        let events: i64 = lagging.iter().map(|(events, _)| events).sum();
        lagging.sort_by_key(|(events, _)| std::cmp::Reverse(*events));
        let mut oldest_ms = 0.0_f64;
        for (_, head) in lagging.iter().take(SAMPLED_SLOTS) {
            let read = engine.checkpoint(model, head.slot).slot_position;
            if let Some(next) = log.read_slot(head.slot, read, 1).await?.first() {
                oldest_ms = oldest_ms.max(age_ms(next.recorded_at));
            }
        }
        let labels = [
            ("read_model", generation.read_model.to_owned()),
            ("shard", shard.to_string()),
        ];
        metrics::gauge!("projector_lag_events", &labels).set(events as f64);
        metrics::gauge!("projector_lag_ms", &labels).set(oldest_ms);
        progress.update(shard, |status| {
            status.lag_events.insert(generation.read_model, events);
        });
    }
    parked(shard, engine, progress).await;
    Ok(())
}

/// Counts parked streams. Only a figure: where the read store fails, the next batch says so.
async fn parked(shard: ShardId, engine: &Engine, progress: &Progress) {
    for generation in engine.generations() {
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
