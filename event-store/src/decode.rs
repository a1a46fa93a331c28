//! Stored events back into an aggregate's, by way of postgres-es and the upcasters.

use cqrs_es::persist::{SemanticVersion, SerializedEvent};
use cqrs_es::{Aggregate, EventEnvelope};
use domain::{DecodeError, EventType, Sequence, StreamId};

use crate::error::Error;

/// Upcasts and decodes the events of one stream. An event newer than this binary is refused, where
/// `cqrs-es` alone would read it as if it were today's and lose what is new in it.
pub(crate) fn envelopes<A: Aggregate>(
    stream: &StreamId,
    stored: Vec<SerializedEvent>,
) -> Result<Vec<EventEnvelope<A>>, Error> {
    let upcasters = domain::upcasters();
    let decode = |event: SerializedEvent| {
        let (kind, version) = (event.event_type.clone(), event.event_version.clone());
        let sequence = Sequence(i64::try_from(event.sequence).unwrap_or(i64::MAX));
        let fail = |source| Error::Undecodable {
            stream: stream.clone(),
            sequence,
            source,
        };
        if is_newer(&kind, &version) {
            return Err(fail(DecodeError::Newer {
                event_type: kind,
                version,
            }));
        }
        let current = upcasters.iter().fold(event, |event, upcaster| {
            if upcaster.can_upcast(&event.event_type, &event.event_version) {
                upcaster.upcast(event)
            } else {
                event
            }
        });
        EventEnvelope::try_from(current).map_err(|error| {
            fail(DecodeError::Malformed {
                event_type: kind,
                version,
                reason: error.to_string(),
            })
        })
    };
    stored.into_iter().map(decode).collect()
}

fn is_newer(event_type: &str, version: &str) -> bool {
    let Some(known) = EventType::from_stored(event_type) else {
        return true;
    };
    match (
        version.parse::<SemanticVersion>(),
        known.version().parse::<SemanticVersion>(),
    ) {
        (Ok(stored), Ok(current)) => stored.supersedes(&current),
        // No binary of ours ever wrote a version that does not parse.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_or_later_version_is_newer() {
        assert!(is_newer("OrderTeleported", "1.0"));
        assert!(is_newer("OrderCreated", "99.0"));
        assert!(is_newer("OrderCreated", "?"));
        assert!(!is_newer("OrderCreated", EventType::OrderCreated.version()));
    }
}
