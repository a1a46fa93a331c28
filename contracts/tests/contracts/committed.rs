//! The committed files are the generated ones.

use std::path::{Path, PathBuf};

use contracts::{asyncapi, file_name, schema, to_text};
use domain::EventType;
use service::settings::TopicSettings;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn check(path: &str, generated: &str) {
    let path = folder().join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{} differs from the code: run the tests with UPDATE_GENERATED=1",
        path.display()
    );
}

#[test]
fn the_committed_schemas_are_the_generated_ones() {
    for event in EventType::ALL {
        check(&format!("schemas/{}", file_name(event)), &to_text(&schema(event)));
    }
}

#[test]
fn the_committed_asyncapi_document_is_the_generated_one() {
    check("asyncapi.json", &to_text(&asyncapi()));
}

#[test]
fn the_document_tells_the_topic_as_a_relay_makes_it() {
    let (topic, document) = (TopicSettings::default(), asyncapi());
    let channel = &document["channels"]["events"];
    assert_eq!(channel["address"], topic.name);
    let kafka = &channel["bindings"]["kafka"];
    assert_eq!(kafka["partitions"], topic.partitions);
    assert_eq!(kafka["replicas"], topic.replication);
    assert_eq!(kafka["topicConfiguration"]["min.insync.replicas"], topic.min_insync);
    assert_eq!(kafka["topicConfiguration"]["retention.ms"], topic.retention_ms);
}

#[test]
fn every_message_refers_to_a_committed_schema_of_its_name() {
    for event in EventType::ALL {
        let document = asyncapi();
        let path = &document["components"]["messages"][event.as_str()]["payload"]["schema"]["$ref"];
        let text = std::fs::read_to_string(folder().join(path.as_str().unwrap())).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["$id"], format!("urn:comanda:event:{event}:{}", event.version()));
    }
}
