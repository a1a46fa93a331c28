//! Finding the answer that a repeated command was already given.
//!
//! Key and fingerprint travel in the metadata of the events that a command stored, so loading the
//! stream is all it takes: no table of keys, no expiry, and nothing between two writes to lose.

use cqrs_es::{Aggregate, EventEnvelope};
use domain::Metadata;
use domain::metadata::key;

use crate::call::{Call, Meets};
use crate::error::Error;

/// The number of events up to and including those of the command that `call` repeats; its answer is
/// rendered from exactly these. `None` where it was not seen before.
///
/// # Errors
/// [`Error::KeyReused`] or [`Error::OrderExists`] where another command stands in its place.
pub(crate) fn stored_answer<A: Aggregate>(
    call: &Call<'_>,
    history: &[EventEnvelope<A>],
) -> Result<Option<usize>, Error> {
    let first = match call.meets {
        Meets::Nothing { .. } => match history.first() {
            Some(first) => judge_creation(call, &first.metadata).map(|()| Some(0))?,
            None => None,
        },
        Meets::Existing(_) | Meets::Whatever => find_key(call, history)?,
    };
    Ok(first.map(|first| end_of_command(history, first)))
}

/// The stream was opened before: by this very command, or by another.
fn judge_creation(call: &Call<'_>, opened_by: &Metadata) -> Result<(), Error> {
    let same_operation = opened_by
        .get(key::OPERATION)
        .is_some_and(|name| name == call.operation.as_str());
    let same_body = opened_by.get(key::FINGERPRINT) == Some(&call.fingerprint);
    if same_operation && same_body {
        Ok(())
    } else if same_operation && has_key(call, opened_by) {
        Err(Error::KeyReused)
    } else {
        Err(Error::OrderExists)
    }
}

/// The first event of the command with this key, within the key's scope.
fn find_key<A: Aggregate>(call: &Call<'_>, history: &[EventEnvelope<A>]) -> Result<Option<usize>, Error> {
    let found = history.iter().position(|event| {
        has_key(call, &event.metadata)
            && event
                .metadata
                .get(key::OPERATION)
                .is_some_and(|name| name == call.operation.as_str())
    });
    match found.and_then(|index| history.get(index).map(|event| (index, event))) {
        Some((_, event)) if event.metadata.get(key::FINGERPRINT) != Some(&call.fingerprint) => Err(Error::KeyReused),
        Some((index, _)) => Ok(Some(index)),
        None => Ok(None),
    }
}

fn has_key(call: &Call<'_>, metadata: &Metadata) -> bool {
    call.key.as_ref().is_some_and(|sent| {
        metadata
            .get(key::IDEMPOTENCY_KEY)
            .is_some_and(|stored| stored == sent.as_str())
    })
}

/// A command's events stand together and share operation, key and fingerprint. No second command
/// does: it would have been answered with the first.
fn end_of_command<A: Aggregate>(history: &[EventEnvelope<A>], first: usize) -> usize {
    const SHARED: [&str; 3] = [key::OPERATION, key::IDEMPOTENCY_KEY, key::FINGERPRINT];
    let Some(opener) = history.get(first) else {
        return first;
    };
    let same = |event: &&EventEnvelope<A>| {
        SHARED
            .iter()
            .all(|name| event.metadata.get(*name) == opener.metadata.get(*name))
    };
    first + history.iter().skip(first).take_while(same).count()
}
