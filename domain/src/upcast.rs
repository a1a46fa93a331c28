//! Reading what older versions stored.
//!
//! A payload once stored is readable for ever. When an event's shape changes, its version in
//! [`EventType::version`] rises, the old golden file in `tests/golden/` stays, and one step is
//! added to [`steps`]. Steps are listed oldest first and each lifts one version to the next, so
//! that a payload of any age walks up to today's shape.

use std::str::FromStr;

use cqrs_es::persist::{EventUpcaster, SemanticVersion, SemanticVersionEventUpcaster, SerializedEvent};
use serde_json::Value;

use crate::EventType;

/// One lift of one event type to `to`.
struct Step {
    kind: EventType,
    to: &'static str,
    lift: fn(Value) -> Value,
}

/// Every lift ever needed, oldest first. Empty while every event is at its first version.
const fn steps() -> &'static [Step] {
    &[]
}

/// The steps as `cqrs-es` takes them, for loading through `PersistedEventStore`.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    steps().iter().map(upcaster).collect()
}

fn upcaster(step: &Step) -> Box<dyn EventUpcaster> {
    Box::new(SemanticVersionEventUpcaster::new(
        step.kind.as_str(),
        step.to,
        Box::new(step.lift),
    ))
}

/// Whether `version` lies above `current`. A version that does not parse is newer: no binary of
/// ours ever wrote it.
pub(crate) fn is_newer(version: &str, current: &str) -> bool {
    match (SemanticVersion::from_str(version), SemanticVersion::from_str(current)) {
        (Ok(version), Ok(current)) => version.supersedes(&current),
        _ => true,
    }
}

pub(crate) fn to_current(kind: EventType, version: &str, payload: Value) -> Value {
    lift(steps(), kind, version, payload)
}

fn lift(steps: &[Step], kind: EventType, version: &str, payload: Value) -> Value {
    if version == kind.version() {
        return payload;
    }
    let stored = SerializedEvent::new(
        String::new(),
        0,
        String::new(),
        kind.as_str().to_owned(),
        version.to_owned(),
        payload,
        Value::Null,
    );
    let lifted = steps.iter().map(upcaster).fold(stored, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    });
    lifted.payload
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rename_total(mut payload: Value) -> Value {
        if let Some(fields) = payload.as_object_mut()
            && let Some(total) = fields.remove("sum")
        {
            fields.insert("total".into(), total);
        }
        payload
    }

    fn add_tip(mut payload: Value) -> Value {
        payload["tip"] = json!(0);
        payload
    }

    const STEPS: &[Step] = &[
        Step {
            kind: EventType::OrderCreated,
            to: "0.2",
            lift: rename_total,
        },
        Step {
            kind: EventType::OrderCreated,
            to: "0.3",
            lift: add_tip,
        },
    ];

    #[test]
    fn given_an_old_payload_then_every_later_step_is_applied_in_order() {
        let lifted = lift(STEPS, EventType::OrderCreated, "0.1", json!({"sum": 5}));
        assert_eq!(lifted, json!({"total": 5, "tip": 0}));
    }

    #[test]
    fn given_a_payload_halfway_then_only_the_later_steps_are_applied() {
        let lifted = lift(STEPS, EventType::OrderCreated, "0.2", json!({"total": 5}));
        assert_eq!(lifted, json!({"total": 5, "tip": 0}));
    }

    #[test]
    fn given_another_event_then_its_payload_is_untouched() {
        let lifted = lift(STEPS, EventType::OrderStatusChanged, "0.1", json!({"sum": 5}));
        assert_eq!(lifted, json!({"sum": 5}));
    }

    #[test]
    fn an_unparsable_version_counts_as_newer() {
        assert!(is_newer("x", "1.0"));
        assert!(is_newer("1.0.1", "1.0"));
        assert!(!is_newer("0.9", "1.0"));
    }
}
