//! What is generated must be accepted by those who read it.

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::{Gateway, Topology};
use service::settings::{FeedKind, Loader};

fn topology(secrets: &Path) -> Topology {
    Topology {
        secrets: secrets.to_owned(),
        ..Topology::compose()
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn given_a_topology_then_every_process_can_load_its_settings() {
    let folder = tempfile::Builder::new().prefix("a \"folder\" ").tempdir().unwrap();
    for database in [
        "control", "shard-0", "shard-1", "shard-2", "shard-3", "read-0", "read-1", "read-2",
    ] {
        let url = format!("postgres://comanda:secret@127.0.0.1/{database}");
        std::fs::write(folder.path().join(format!("{database}-url")), url).unwrap();
    }
    let file = folder.path().join("cluster.toml");
    let text = topology(folder.path()).render();
    assert!(!text.contains("secret@"), "{text}");
    std::fs::write(&file, text).unwrap();
    let settings = Loader::new().file(Some(&file)).load().unwrap();
    assert_eq!(settings.event_store.shards.len(), 4);
    assert!(settings.event_store.shards[3].url.expose().ends_with("/shard-3"));
    assert_eq!(settings.read_stores[0].replicas.len(), 2);
    assert_eq!(settings.projector.feed, FeedKind::Kafka);
    assert_eq!(settings.kafka.topic.partitions, 64);
    assert_eq!(settings.kafka.topic.min_insync, 2);
    assert_eq!(settings.auth.keys.len(), 1);
}

#[test]
fn the_committed_settings_of_docker_compose_are_the_cluster_s() {
    let path = repository().join("deploy/compose/comanda.toml");
    let generated = Topology::compose().render();
    if std::env::var_os("COMANDA_WRITE_GENERATED").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        generated,
        "write it anew: COMANDA_WRITE_GENERATED=1 cargo test --release -p cluster"
    );
}

#[test]
fn given_docker_compose_then_it_has_the_services_that_make_cluster_starts() {
    let text = std::fs::read_to_string(repository().join("docker-compose.yml")).unwrap();
    let config = cluster::Config::new("", "", "");
    let mut expected = vec![
        "shards-a".to_owned(),
        "shards-b".to_owned(),
        "shards-a-standby".to_owned(),
    ];
    expected.extend(["read-0", "read-1", "read-2", "nginx"].map(str::to_owned));
    for (role, count) in [
        ("command-api", config.command_apis),
        ("relay", config.relays),
        ("projector", config.projectors),
        ("query-api", config.query_apis),
        ("ops-api", config.ops_apis),
        ("kafka", config.brokers),
    ] {
        expected.extend((1..=count).map(|number| format!("{role}-{number}")));
        assert!(
            !text.contains(&format!("\n  {role}-{}:\n", count + 1)),
            "more {role} than make cluster starts"
        );
    }
    for service in expected {
        assert!(text.contains(&format!("\n  {service}:\n")), "no service {service}");
    }
    let port = "command-api-1:8080";
    assert!(text.contains(port), "nginx does not know {port}");
}

#[test]
fn given_the_gateway_s_settings_then_nginx_accepts_them() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway {
        listen: "127.0.0.1:8080".parse().unwrap(),
        command_apis: vec![20_001, 20_002],
        query_apis: vec![20_003, 20_004],
    };
    gateway.write(folder.path()).unwrap();
    let prefix = format!("{}/", folder.path().display());
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let said = Command::new("nginx")
        .env("PATH", path)
        .args(["-t", "-p", &prefix, "-c", "nginx.conf", "-e", "stderr"])
        .output()
        .expect("nginx (scripts/setup test installs it)");
    let output = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{output}");
    assert!(!output.contains("[warn]"), "{output}");
}
