//! What of a batch is new to a read model.

use std::collections::HashMap;

use event_store::Slot;

use crate::checkpoint::Checkpoint;
use crate::intake::Run;
use crate::model::{Incoming, ReadModel, Stretch};

/// The events that a read model has not seen, by stream.
pub(crate) fn stretches<'a>(
    runs: &'a [Run],
    steps: &HashMap<Slot, (Checkpoint, i64)>,
    model: &dyn ReadModel,
    dedupe: bool,
) -> Vec<Stretch<'a>> {
    let mut stretches: Vec<Stretch<'a>> = vec![];
    let mut places = HashMap::new();
    for run in runs {
        let Some((from, _)) = steps.get(&run.slot) else {
            continue;
        };
        let unseen = |event: &&Incoming| !dedupe || event.recorded.slot_position > from.slot_position;
        for event in run
            .events
            .iter()
            .filter(unseen)
            .filter(|event| model.reads(event.recorded.stream.kind()))
        {
            let stream = &event.recorded.stream;
            let place = *places.entry(stream).or_insert_with(|| {
                stretches.push(Stretch {
                    stream,
                    slot: run.slot,
                    events: vec![],
                });
                stretches.len() - 1
            });
            stretches[place].events.push(event);
        }
    }
    stretches
}
