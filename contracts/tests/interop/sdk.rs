//! The CloudEvents SDK of Python, by its own Kafka binding: `contracts/interop/read.py`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::judge::Seen;
use crate::log::Stored;
use crate::publishing::Published;

pub(crate) fn read(topic: &Published) -> Vec<Seen> {
    let mut reader = Command::new(python());
    reader.arg(root().join("contracts/interop/read.py"));
    reader.args([&topic.kafka.bootstrap, &topic.kafka.topic.name]);
    let said = reader.stdin(Stdio::null()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let lines = String::from_utf8(said.stdout).unwrap();
    lines.lines().map(seen).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The Python that has the SDK, as `scripts/interop-tools` left it.
fn python() -> PathBuf {
    let tools = root().join(".tools/interop");
    let wanted = std::fs::read(root().join("contracts/interop/requirements.txt")).unwrap();
    assert!(
        std::fs::read(tools.join("brought.txt")).is_ok_and(|brought| brought == wanted),
        "the CloudEvents SDK that reads the topic is missing from {}: run scripts/setup test",
        tools.display()
    );
    tools.join("bin/python")
}

fn seen(line: &str) -> Seen {
    let mut event: Map<String, Value> = serde_json::from_str(line).unwrap();
    let mut part = |name: &str| event.remove(name).unwrap_or_else(|| panic!("no {name}: {line}"));
    let (partition, content, time) = (part("partition"), part("data"), part("time"));
    let extensions = part("extensions");
    let attributes = event.into_iter().chain(extensions.as_object().unwrap().clone());
    let mut attributes: BTreeMap<_, _> = attributes
        .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
        .collect();
    Seen {
        partition: partition.as_i64().unwrap().try_into().unwrap(),
        // Where the binding says that a record's key goes.
        key: attributes.remove("partitionkey").unwrap(),
        attributes,
        time: time.as_str().unwrap().parse().unwrap(),
        content,
    }
}

/// What CloudEvents has names for, and the payload as the JSON that it is.
pub(crate) fn expected(stored: &Stored) -> Seen {
    Seen {
        partition: stored.partition(),
        key: stored.tenant.clone(),
        attributes: stored.attributes.clone(),
        time: stored.time,
        content: serde_json::from_str(&stored.payload).unwrap(),
    }
}
