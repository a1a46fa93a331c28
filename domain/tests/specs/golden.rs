//! Every payload ever stored stays readable, and today's keep their exact shape.
//!
//! `tests/golden/<EventType>-<version>.json` is one stored payload. Files are added, never edited.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use domain::{DecodeError, Event, EventType};
use serde_json::{Value, json};

fn golden_files() -> BTreeMap<(String, String), Value> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(folder).expect("the golden folder");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a name")
                .to_owned();
            let (kind, version) = stem.split_once('-').expect("Type-version.json");
            let payload = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
            ((kind.to_owned(), version.to_owned()), payload)
        })
        .collect()
}

#[test]
fn every_golden_payload_still_decodes() {
    for ((kind, version), payload) in golden_files() {
        let event = Event::decode(&kind, &version, payload).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(event.event_type().as_str(), kind);
    }
}

#[test]
fn the_current_version_of_every_event_has_a_golden_file_and_writes_exactly_that() {
    let files = golden_files();
    for kind in EventType::ALL {
        let key = (kind.as_str().to_owned(), kind.version().to_owned());
        let stored = files
            .get(&key)
            .unwrap_or_else(|| panic!("{kind} {} has no golden file", kind.version()));
        let event = Event::decode(kind.as_str(), kind.version(), stored.clone()).expect("decodes");
        let written = match event {
            Event::Order(event) => serde_json::to_value(event),
            Event::Product(event) => serde_json::to_value(event),
            Event::Establishment(event) => serde_json::to_value(event),
        };
        assert_eq!(written.expect("serialises"), *stored, "{kind}");
    }
}

#[test]
fn a_newer_event_is_told_apart_from_a_malformed_one() {
    let newer = |kind: &str, version: &str| Event::decode(kind, version, json!({}));
    assert!(matches!(newer("OrderVoided", "1.0"), Err(DecodeError::Newer { .. })));
    assert!(matches!(newer("OrderCreated", "99.0"), Err(DecodeError::Newer { .. })));
    assert!(matches!(
        newer("OrderCreated", "1.0"),
        Err(DecodeError::Malformed { .. })
    ));
}
