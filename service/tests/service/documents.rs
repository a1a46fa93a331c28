//! The documents that clients and operators rely on say what the code does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use service::problem::code;
use service::settings::{
    AuthSettings, DatabaseUrl, EventStoreSettings, KeyAlgorithm, KeySettings, Loader, ReadStoreSettings,
    ReplicaSettings, Secret, Settings, ShardSettings, SigningSettings,
};

fn repository(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

#[test]
fn given_the_error_page_when_read_then_it_is_sorted_and_has_every_code_with_its_status() {
    let page = std::fs::read_to_string(repository("docs/errors.md")).unwrap();
    let rows: Vec<(&str, u16)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let (code, rest) = row.split_once("` |").unwrap();
            (code, rest.split('|').next().unwrap().trim().parse().unwrap())
        })
        .collect();
    let codes: Vec<&str> = rows.iter().map(|(code, _)| *code).collect();
    let sorted: Vec<&str> = codes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(codes, sorted, "sorted by code, each once");
    for (code, status) in code::ALL {
        assert!(rows.contains(&(code, *status)), "`{code}` {status} is missing");
    }
}

#[test]
fn given_the_example_settings_when_loaded_then_they_are_the_defaults() {
    let settings = Loader::new()
        .file(Some(&repository("comanda.example.toml")))
        .load()
        .unwrap();
    assert_eq!(settings, Settings::default());
}

#[test]
fn given_the_example_settings_when_compared_with_the_code_then_they_name_every_key_and_no_other() {
    let example = std::fs::read_to_string(repository("comanda.example.toml")).unwrap();
    let mut known = BTreeSet::new();
    keys("", &serde_json::to_value(complete()).unwrap(), &mut known);
    assert_eq!(keys_named_in(&example), known);
}

/// Settings in which every optional part is present.
fn complete() -> Settings {
    let key = KeySettings {
        kid: None,
        algorithm: KeyAlgorithm::Hs256,
        secret: Some(Secret::new("")),
        secret_file: None,
        public_key_file: None,
    };
    let signing = SigningSettings {
        kid: None,
        algorithm: KeyAlgorithm::Hs256,
        secret_file: None,
        private_key_file: None,
    };
    let shard = ShardSettings {
        id: 0,
        url: DatabaseUrl::default(),
        url_file: None,
    };
    let replica = ReplicaSettings {
        name: String::new(),
        url: DatabaseUrl::default(),
        url_file: None,
    };
    let read_store = ReadStoreSettings {
        replicas: vec![replica],
        ..ReadStoreSettings::main(DatabaseUrl::default())
    };
    Settings {
        read_stores: vec![read_store],
        auth: AuthSettings {
            keys: vec![key],
            signing: Some(signing),
            ..AuthSettings::default()
        },
        event_store: EventStoreSettings {
            shards: vec![shard],
            ..EventStoreSettings::default()
        },
        ..Settings::default()
    }
}

fn keys(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                keys(&format!("{path}.{key}"), value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(path, item, found)),
        _ => {
            found.insert(path.trim_start_matches('.').to_owned());
        }
    }
}

/// Every `key = value`, also in comments and in inline tables, under its section.
fn keys_named_in(example: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in example.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if let Some(table) = line.strip_prefix("{ ") {
            let list = if section == "event_store" { "shards" } else { "replicas" };
            named.extend(
                table
                    .split(", ")
                    .filter_map(key)
                    .map(|key| format!("{section}.{list}.{key}")),
            );
        } else if let Some(key) = key(line) {
            named.insert(format!("{section}.{key}"));
        }
    }
    // A list's own key stands for its entries.
    named.remove("event_store.shards");
    named.remove("read_stores.replicas");
    named
}

fn key(text: &str) -> Option<&str> {
    let (key, _) = text.split_once(" = ")?;
    key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(key)
}
