//! kcat: a program in C that shows records as they are.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::judge::Seen;
use crate::log::Stored;
use crate::publishing::Published;

/// Partition, key, length of the payload and headers; then the payload, which may have lines.
const FORMAT: &str = "%p %k %S %h\n%s\n";

pub(crate) fn read(topic: &Published) -> Vec<Seen> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-q", "-C", "-e", "-o", "beginning", "-f", FORMAT]);
    kcat.args(["-b", &topic.kafka.bootstrap, "-t", &topic.kafka.topic.name]);
    let said = kcat
        .stdin(Stdio::null())
        .output()
        .expect("kcat is missing: run scripts/setup test");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let mut rest = said.stdout.as_slice();
    let mut seen = Vec::new();
    while !rest.is_empty() {
        seen.push(next(&mut rest));
    }
    seen
}

fn next(rest: &mut &[u8]) -> Seen {
    let end = rest.iter().position(|it| *it == b'\n').unwrap();
    let (line, after) = (std::str::from_utf8(&rest[..end]).unwrap(), &rest[end + 1..]);
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().unwrap();
    let (partition, key, length) = (part().parse().unwrap(), part().to_owned(), part().parse().unwrap());
    let mut attributes = attributes(part());
    let (payload, after): (&[u8], _) = after.split_at(length);
    *rest = after.strip_prefix(b"\n").unwrap();
    Seen {
        partition,
        key,
        time: attributes.remove("time").unwrap().parse().unwrap(),
        attributes,
        content: std::str::from_utf8(payload).unwrap().into(),
    }
}

/// kcat puts commas between headers, and escapes none that are in values.
fn attributes(headers: &str) -> BTreeMap<String, String> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for part in headers.split(',') {
        match (part.split_once('='), attributes.last_mut()) {
            (Some((name, value)), _) if is_header(name) => attributes.push((attribute(name), value.to_owned())),
            (_, Some((_, value))) => *value = format!("{value},{part}"),
            (_, None) => panic!("no header: {part}"),
        }
    }
    let count = attributes.len();
    let attributes: BTreeMap<_, _> = attributes.into_iter().collect();
    assert_eq!(attributes.len(), count, "a header stands twice in {headers}");
    attributes
}

fn is_header(name: &str) -> bool {
    name.starts_with("ce_") || ["content-type", "comanda_metadata"].contains(&name)
}

fn attribute(name: &str) -> String {
    match name {
        "content-type" => "datacontenttype".to_owned(),
        name => name.trim_start_matches("ce_").to_owned(),
    }
}

/// Every header, and the payload to the byte.
pub(crate) fn expected(stored: &Stored) -> Seen {
    let further = stored.further.clone();
    Seen {
        partition: stored.partition(),
        key: stored.tenant.clone(),
        attributes: stored
            .attributes
            .clone()
            .into_iter()
            .chain(further.map(|it| ("comanda_metadata".to_owned(), it)))
            .collect(),
        time: stored.time,
        content: Value::String(stored.payload.clone()),
    }
}
