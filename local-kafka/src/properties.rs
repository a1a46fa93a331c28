//! `server.properties` of a node.

use std::fmt::Write;
use std::path::Path;

use crate::config::Config;
use crate::folder::Ports;
use crate::node::NodeId;

/// The settings of node `id`, whose data is in `data`. `ports` are those of all nodes.
pub(crate) fn of_node(config: &Config, id: NodeId, ports: &[Ports], data: &Path) -> String {
    let own = ports
        .get(usize::from(id.0).saturating_sub(1))
        .copied()
        .unwrap_or_default();
    let voters = ports
        .iter()
        .zip(1..)
        .map(|(ports, id)| format!("{id}@127.0.0.1:{}", ports.controller));
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", own.plain);
    if config.secure.is_some() {
        let _ = write!(listeners, ",SECURE://127.0.0.1:{}", own.secure);
    }
    let mut properties = vec![
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", id.to_string()),
        ("controller.quorum.voters", voters.collect::<Vec<_>>().join(",")),
        (
            "listeners",
            format!("{listeners},CONTROLLER://127.0.0.1:{}", own.controller),
        ),
        ("advertised.listeners", listeners),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL".to_owned(),
        ),
        ("log.dirs", data.display().to_string()),
    ];
    properties.extend(topics(config));
    properties.extend(small(config));
    properties.extend(secure(config));
    properties.into_iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}={value}");
        text
    })
}

fn topics(config: &Config) -> Vec<(&'static str, String)> {
    let (replication, min_insync) = (config.replication.to_string(), config.min_insync.to_string());
    vec![
        // A topic's number of partitions is part of a contract, so nothing makes one by accident.
        ("auto.create.topics.enable", "false".to_owned()),
        ("default.replication.factor", replication.clone()),
        ("min.insync.replicas", min_insync.clone()),
        ("offsets.topic.replication.factor", replication.clone()),
        ("offsets.topic.num.partitions", "4".to_owned()),
        ("transaction.state.log.replication.factor", replication),
        ("transaction.state.log.min.isr", min_insync),
        ("transaction.state.log.num.partitions", "1".to_owned()),
    ]
}

/// A node among others on a small machine, that is to notice quickly when another is gone.
fn small(config: &Config) -> Vec<(&'static str, String)> {
    let session_ms = config.broker_session.as_millis();
    vec![
        ("broker.session.timeout.ms", session_ms.to_string()),
        (
            "broker.heartbeat.interval.ms",
            (session_ms / 4).clamp(100, 2_000).to_string(),
        ),
        ("replica.lag.time.max.ms", (session_ms * 2).to_string()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("num.network.threads", "2".to_owned()),
        ("num.io.threads", "3".to_owned()),
        ("background.threads", "2".to_owned()),
        ("num.replica.fetchers", "1".to_owned()),
        ("log.cleaner.threads", "1".to_owned()),
        ("log.cleaner.dedupe.buffer.size", "4194304".to_owned()),
        ("log.cleaner.io.buffer.size", "131072".to_owned()),
    ]
}

fn secure(config: &Config) -> Vec<(&'static str, String)> {
    let Some(secure) = &config.secure else {
        return Vec::new();
    };
    vec![
        ("ssl.keystore.type", "PEM".to_owned()),
        (
            "ssl.keystore.location",
            secure.key_and_certificate.display().to_string(),
        ),
        (
            "listener.name.secure.sasl.enabled.mechanisms",
            "SCRAM-SHA-512".to_owned(),
        ),
        (
            "listener.name.secure.scram-sha-512.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_names_all_voters_and_its_own_ports() {
        let ports = [(1, 2, 3), (4, 5, 6), (7, 8, 9)];
        let ports = ports.map(|(plain, controller, secure)| Ports {
            plain,
            controller,
            secure,
        });
        let config = Config::new("/k", "/jars", 3);
        let text = of_node(&config, NodeId(2), &ports, Path::new("/k/node-2/data"));
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:2,2@127.0.0.1:5,3@127.0.0.1:8",
            "listeners=PLAINTEXT://127.0.0.1:4,CONTROLLER://127.0.0.1:5",
            "advertised.listeners=PLAINTEXT://127.0.0.1:4",
            "log.dirs=/k/node-2/data",
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "auto.create.topics.enable=false",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }
}
